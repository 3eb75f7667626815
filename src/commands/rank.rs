//! `edgebench rank`.

use super::{OK, REFUSED, word};
use argh::FromArgs;
use edgebench::story::run_folder::Run;
use edgebench::story::{boards, rank};
use std::path::PathBuf;

#[derive(FromArgs)]
/// A leaderboard over any number of runs: like boards with like.
#[argh(
    subcommand,
    name = "rank",
    note = "Places with overlapping accuracy intervals share a rank. ◆: on the Pareto front of quality, speed, energy\nand memory. ✗: not valid, ?: could not be judged."
)]
pub struct Rank {
    /// folders of runs
    #[argh(positional)]
    runs: Vec<PathBuf>,
    /// sort by this column: "acc desc"; may be repeated; default: acc, then speed
    #[argh(option, arg_name = "column order")]
    by: Vec<String>,
    /// only rows whose column fits: task=compare, model='*q4*'; may be repeated
    #[argh(option, arg_name = "column=pat")]
    filter: Vec<String>,
    /// show this column of cases.csv instead of the usual ones; may be repeated
    #[argh(option)]
    column: Vec<String>,
    /// leave out rows that are not valid
    #[argh(switch)]
    valid_only: bool,
    /// all boards in one leaderboard
    #[argh(switch)]
    across: bool,
    /// table (default), md, csv, json, or ianvs: the columns of Ianvs' selected_rank.csv
    #[argh(option, default = "String::from(\"table\")")]
    format: String,
    /// with --format ianvs: write all_rank.csv and selected_rank.csv into this folder
    #[argh(option, arg_name = "dir")]
    out: Option<PathBuf>,
}

/// Runs the command; its exit code.
pub fn run(arguments: &Rank) -> u8 {
    match ranked(arguments) {
        Ok(text) => {
            println!("{text}");
            OK
        }
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}

fn ranked(arguments: &Rank) -> Result<String, String> {
    if arguments.runs.is_empty() {
        return Err("rank: give the folders of runs".to_owned());
    }
    let format = word("--format", &arguments.format, boards::Format::ALL)?;
    let runs: Vec<Run> = arguments.runs.iter().map(|folder| Run::read(folder)).collect::<Result<_, _>>()?;
    let pair = |text: &String| {
        let (column, pattern) = text.split_once('=').ok_or(format!("--filter {text}: write it like task=compare"))?;
        Ok((column.to_owned(), pattern.to_owned()))
    };
    let by: Vec<&str> = arguments.by.iter().map(String::as_str).collect();
    let keys = if by.is_empty() { rank::default_keys() } else { rank::keys(&by)? };
    let filters = arguments.filter.iter().map(pair).collect::<Result<_, String>>()?;
    let wanted = boards::Wanted { keys, filters, valid_only: arguments.valid_only, across: arguments.across };
    let boards = boards::boards(&runs, &wanted);
    match &arguments.out {
        None => Ok(boards::print(&boards, &arguments.column, format)),
        Some(folder) if format == boards::Format::Ianvs => boards::ianvs::write(&boards, &arguments.column, folder),
        Some(_) => Err("--out: it is for --format ianvs; else write `> FILE`".to_owned()),
    }
}

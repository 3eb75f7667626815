//! The page put together: the template with its data, and the policy that lets nothing in that is not on the page. It must
//! not know what is shown.

use super::Section;
use super::environment::{Environment, environment};
use super::language::Text;
use super::learning::Learning;
use super::timeline::PHASES;
use super::variants::Shown;
use super::wrong::Wrong;
use crate::story::run_folder::Run;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, Value};
use minijinja::{Environment as Templates, context};
use sha2::{Digest, Sha256};

pub const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole report as HTML.
pub fn page(
    text: &Text,
    runs: &[Run],
    learning: Option<Learning>,
    sections: &[Section],
    variants: &[Shown],
    wrongs: &[Wrong],
) -> Result<String, String> {
    let environments: Vec<Environment> = runs.iter().map(|r| environment(&r.folder)).collect();
    let jobs: std::collections::BTreeSet<&str> = runs.iter().map(|r| r.manifest.job.as_str()).collect();
    let records: f64 = runs.iter().flat_map(|r| &r.rows).filter_map(|r| r.number("n")).sum();
    let context = context! {
        lang => text.code(),
        policy => policy(&[STYLE], &[SCRIPT]),
        style => STYLE,
        script => SCRIPT,
        jobs => Value::from(Serde(&jobs)),
        started => runs.iter().map(|r| r.manifest.start.clone()).min(),
        runs => runs.iter().map(|r| r.folder.display().to_string()).collect::<Vec<_>>(),
        n_cases => runs.iter().map(|r| r.rows.len()).sum::<usize>(),
        n_records => format!("{records:.0}"),
        version => env!("CARGO_PKG_VERSION"),
        learning => Value::from(Serde(learning)),
        sections => Value::from(Serde(sections)),
        variants => Value::from(Serde(variants)),
        wrongs => Value::from(Serde(wrongs)),
        environments => Value::from(Serde(environments)),
        phases => PHASES.map(|(name, _)| name),
    };
    render(text, TEMPLATE, context)
}

/// A page of its own for charts and a table: `body` is HTML, the rest is text.
pub fn wrap(text: &Text, title: &str, body: &str) -> String {
    let (title, policy) = (minijinja::HtmlEscape(title), policy(&[STYLE], &[]));
    format!(
        "<!DOCTYPE html><html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"><link rel=\"icon\" href=\"data:,\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n",
        text.code()
    )
}

fn render(text: &Text, template: &str, context: Value) -> Result<String, String> {
    let mut templates = Templates::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| e.to_string())?;
    templates.set_syntax(syntax);
    let words = *text;
    templates.add_function("t", move |key: &str, values: Rest<Value>| {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if values.is_empty() { words.word(key) } else { words.fill(key, &values) }
    });
    // The name's end is what makes every value be escaped.
    templates.add_template("report.html", template).map_err(|e| e.to_string())?;
    templates.get_template("report.html").and_then(|t| t.render(context)).map_err(|e| e.to_string())
}

/// Only these styles and scripts, and nothing from elsewhere.
fn policy(styles: &[&str], scripts: &[&str]) -> String {
    let hashes = |texts: &[&str]| match texts {
        [] => "'none'".to_owned(),
        texts => texts.iter().map(|t| format!("'sha256-{}'", base64(&Sha256::digest(t)))).collect::<Vec<_>>().join(" "),
    };
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hashes(styles),
        hashes(scripts)
    )
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for digit in 0..4 {
            let place = (bits >> (18 - 6 * digit)) as usize & 63;
            out.push(if digit <= three.len() { char::from(DIGITS[place]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (text, coded) in vectors {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}

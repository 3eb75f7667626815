//! The metrics by their words. It owns which there are and with which method each goes; it must not know how one is
//! computed (`testenv::metric`).

use super::{Method, Options};

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident $name:literal)*) => {
        /// A metric. Accuracy is always there, the others where a task asks for them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Metric {
            $($(#[$doc])* $variant,)*
        }

        impl Metric {
            /// All of them, by their words in the job file and in cases.csv.
            pub const ALL: &[(&str, Metric)] = &[$(($name, Metric::$variant)),*];

            /// Its columns in cases.csv: value, and the ends of the 95 % interval.
            pub fn columns(self) -> [&'static str; 3] {
                match self {
                    $(Metric::$variant => [$name, concat!($name, "_lo"), concat!($name, "_hi")],)*
                }
            }
        }
    };
}

metrics! {
    /// Share of records answered right.
    Acc "acc"
    /// Share whose answer is the expected one to the letter.
    ExactMatch "exact_match"
    /// Share whose number is the expected one, within `tolerance`.
    NumberMatch "number_match"
    /// SQuAD's exact match: without case, punctuation and articles.
    SquadEm "squad_em"
    /// SQuAD's F1 over words.
    SquadF1 "squad_f1"
    /// CMRC 2018's exact match: without case, white space and punctuation.
    CmrcEm "cmrc_em"
    /// CMRC 2018's F1 over characters.
    CmrcF1 "cmrc_f1"
    /// ROUGE-L over words.
    RougeL "rouge_l"
    /// ROUGE-L over Chinese characters.
    RougeLZh "rouge_l_zh"
    /// sacreBLEU with its tokenizer 13a.
    Bleu "bleu"
    /// sacreBLEU with its tokenizer zh.
    BleuZh "bleu_zh"
    /// sacreBLEU's chrF2.
    Chrf "chrf"
    BalancedAcc "balanced_acc"
    PrecisionMacro "precision_macro"
    PrecisionMicro "precision_micro"
    PrecisionWeighted "precision_weighted"
    RecallMacro "recall_macro"
    RecallMicro "recall_micro"
    RecallWeighted "recall_weighted"
    F1Macro "f1_macro"
    F1Micro "f1_micro"
    F1Weighted "f1_weighted"
    /// Matthews' correlation coefficient.
    Mcc "mcc"
    /// Share right by log-likelihood per byte.
    AccNorm "acc_norm"
    /// Share right by what the question adds to the log-likelihood.
    AccMutualInfo "acc_mutual_info"
    /// Expected calibration error.
    Ece "ece"
    Perplexity "perplexity"
    WordPerplexity "word_perplexity"
    BytePerplexity "byte_perplexity"
    BitsPerByte "bits_per_byte"
    /// Of the last words of texts: lm-eval's `perplexity` of LAMBADA.
    TargetPerplexity "target_perplexity"
    /// Kullback-Leibler divergence of what may come next, of the original's distribution from the model's; nats per token.
    Kl "kl"
    /// Share of tokens where the most likely one is the original's.
    SameTop "same_top"
}

/// What a metric looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Whether the answer is the right one.
    Answer,
    /// Answers as texts.
    Text,
    /// The choices of records as classes.
    Classes,
    /// Log-likelihoods of options.
    Options,
    /// Log-likelihoods of texts.
    Language,
    /// Distributions over texts.
    Divergence,
}

impl Metric {
    /// What method = "perplexity" measures.
    pub const LANGUAGE: [Metric; 4] =
        [Metric::Perplexity, Metric::WordPerplexity, Metric::BytePerplexity, Metric::BitsPerByte];

    /// What method = "divergence" measures.
    pub const DIVERGENCE: [Metric; 2] = [Metric::Kl, Metric::SameTop];

    /// Its word in the job file and its column in cases.csv.
    pub fn name(self) -> &'static str {
        self.columns()[0]
    }

    fn kind(self) -> Kind {
        use Metric::*;
        match self {
            Acc | ExactMatch => Kind::Answer,
            NumberMatch | SquadEm | SquadF1 | CmrcEm | CmrcF1 | RougeL | RougeLZh | Bleu | BleuZh | Chrf => Kind::Text,
            AccNorm | AccMutualInfo | Ece => Kind::Options,
            Perplexity | WordPerplexity | BytePerplexity | BitsPerByte | TargetPerplexity => Kind::Language,
            Kl | SameTop => Kind::Divergence,
            _ => Kind::Classes,
        }
    }

    /// Is less better?
    pub fn lower_is_better(self) -> bool {
        self.kind() == Kind::Language || matches!(self, Metric::Ece | Metric::Kl)
    }

    /// Is it about whole texts?
    pub fn is_of_texts(self) -> bool {
        matches!(self.kind(), Kind::Language | Kind::Divergence)
    }

    /// Is each record either right or wrong by it?
    pub fn is_share(self) -> bool {
        use Metric::*;
        matches!(self, Acc | ExactMatch | NumberMatch | SquadEm | CmrcEm | AccNorm | AccMutualInfo)
    }

    /// May it say whether an output is right?
    pub fn decides(self) -> bool {
        self.is_share() && matches!(self.kind(), Kind::Answer | Kind::Text) && self != Metric::Acc
    }

    /// Is it about classes, which are the choices of the records?
    pub fn needs_classes(self) -> bool {
        self.kind() == Kind::Classes
    }

    /// Is it about log-likelihoods of options?
    pub fn needs_scores(self) -> bool {
        self.kind() == Kind::Options
    }

    /// Why it cannot be had with `method`, and what to do.
    pub fn misfit(self, method: &Method) -> Option<(&'static str, &'static str)> {
        match (method, self.kind()) {
            (Method::Divergence(_), Kind::Divergence) => None,
            (Method::Perplexity(_), Kind::Language) if self != Metric::TargetPerplexity => None,
            (Method::Finetune(_), _) if self == Metric::Acc => None,
            (Method::Finetune(_), _) => {
                Some(("is not measured by method = \"finetune\"", "leave it out, and give it to the task of `quality`"))
            }
            (Method::Cloze, Kind::Language) if self == Metric::TargetPerplexity => None,
            (Method::Cloze, _) if self == Metric::Acc => None,
            (Method::Cloze, _) => Some((
                "is not measured by method = \"cloze\"",
                "leave it out: accuracy and target_perplexity are always there",
            )),
            (Method::Perplexity(_), _) => {
                Some(("is not measured by method = \"perplexity\"", "leave it out, or change the method"))
            }
            (Method::Divergence(_), _) => {
                Some(("is not measured by method = \"divergence\"", "leave it out, or change the method"))
            }
            (_, Kind::Divergence) => Some(("needs whole texts and an original", "use method = \"divergence\"")),
            (_, Kind::Language) => Some(("needs whole texts to score", "use method = \"perplexity\"")),
            (Method::Choice(_), Kind::Text) => {
                Some(("compares texts, and `choice` gives letters", "use method = \"generate\", or acc"))
            }
            (Method::Choice(Options::Whole | Options::InQuestion), Kind::Options) => {
                Some(("needs options that follow a question", "use options = \"letter\" or \"text\""))
            }
            (Method::Generate { .. }, Kind::Options) => {
                Some(("needs the log-likelihoods of options", "use method = \"choice\""))
            }
            _ => None,
        }
    }
}

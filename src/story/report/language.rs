//! Every word of a report that is not a result, in both languages. It must not know where a word stands.

/// In which language a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    En,
    Zh,
}

impl Language {
    /// By its word on the command line.
    pub const ALL: &[(&str, Language)] = &[("en", Language::En), ("zh", Language::Zh)];
}

/// The words of one language.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    language: Language,
}

impl Text {
    pub fn new(language: Language) -> Text {
        Text { language }
    }

    /// As HTML names it.
    pub fn code(&self) -> &'static str {
        match self.language {
            Language::En => "en",
            Language::Zh => "zh-CN",
        }
    }

    /// The text of `key`, or nothing.
    fn get(&self, key: &str) -> Option<&'static str> {
        let (_, en, zh) = TEXTS.iter().find(|(k, _, _)| *k == key)?;
        Some(match self.language {
            Language::En => en,
            Language::Zh => zh,
        })
    }

    /// The text of `key`; it shows itself where it is missing, which a test does not let happen.
    pub fn of(&self, key: &'static str) -> &'static str {
        self.get(key).unwrap_or(key)
    }

    /// [`Text::of`] for a key that a template names.
    pub fn word(&self, key: &str) -> String {
        self.get(key).unwrap_or(key).to_owned()
    }

    /// The text of `key` with `{0}`, `{1}` … filled in.
    pub fn fill(&self, key: &str, values: &[&str]) -> String {
        let mut out = String::new();
        let mut rest = self.get(key).unwrap_or(key);
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((number, behind)) = after.split_once('}') else { break };
            out.push_str(number.parse::<usize>().ok().and_then(|i| values.get(i)).copied().unwrap_or_default());
            rest = behind;
        }
        out + rest
    }

    /// Name and unit of a column of cases.csv.
    pub fn column_parts(&self, column: &str) -> [String; 2] {
        let text = self.get(&format!("col.{column}")).unwrap_or(column);
        let (name, unit) = text.split_once(", ").unwrap_or((text, ""));
        [name.to_owned(), unit.to_owned()]
    }

    /// `Decode, tok/s`
    pub fn column(&self, column: &str) -> String {
        let [name, unit] = self.column_parts(column);
        if unit.is_empty() { name } else { format!("{name}, {unit}") }
    }

    /// `34.1 tok/s`
    pub fn amount(&self, column: &str, value: f64) -> String {
        format!("{} {}", super::numbers::figure(value), self.column_parts(column)[1])
    }
}

/// Key, English, Chinese. Columns are `name, unit`.
const TEXTS: &[(&str, &str, &str)] = &[
    ("title", "edgebench report", "edgebench 报告"),
    ("nav.summary", "Summary", "结论"),
    ("nav.leaderboard", "Leaderboard", "排行榜"),
    ("nav.learning", "Learning curve", "学习曲线"),
    ("nav.variants", "Which variant", "用哪个变体"),
    (
        "variants.note",
        "Each variant of a model against the original, the first, over the same records. In brackets: 95 % intervals; p: McNemar's exact test, corrected after Holm; KL: divergence of the next token's distribution from the original's, nats per token.",
        "同一模型的各变体与原模型（第一行）在相同记录上的比较。括号内为 95 % 区间；p：McNemar 精确检验，经 Holm 校正；KL：下一词元分布相对原模型的散度，单位 nat/词元。",
    ),
    (
        "variants.ship",
        "{0} is the smallest that with 95 % confidence loses at most {1} percentage points of its right answers, over {2} records.",
        "{0} 是在 95 % 置信度下正确率损失不超过 {1} 个百分点的最小变体（{2} 条记录）。",
    ),
    (
        "variants.none",
        "None that is smaller is shown to lose at most {0} percentage points over {1} records: ask more of them.",
        "没有更小的变体能在 {1} 条记录上证明损失不超过 {0} 个百分点：请增加记录数。",
    ),
    ("variants.head.variant", "Variant", "变体"),
    ("variants.head.size", "MiB", "MiB"),
    ("variants.head.bits", "Bits per weight", "每权重位数"),
    ("variants.head.kv", "KV cache, MiB", "KV 缓存，MiB"),
    ("variants.head.quality", "Right, %", "正确率，%"),
    ("variants.head.change", "Change, pp", "变化，百分点"),
    ("variants.head.p", "p", "p"),
    ("variants.head.flips", "✓→✗ ✗→✓", "✓→✗ ✗→✓"),
    ("variants.head.kl", "KL, nats/token", "KL，nat/词元"),
    ("variants.head.kl_p99", "KL, 99 %", "KL，99 %"),
    ("variants.head.same_top", "Same first token, %", "首选词元相同，%"),
    ("variants.head.perplexity", "Perplexity", "困惑度"),
    ("variants.head.time", "Time of a record, %", "每条记录用时变化，%"),
    ("variants.head.prefill", "Prefill, tok/s", "预填充，词元/秒"),
    ("variants.head.decode", "Decode, tok/s", "解码，词元/秒"),
    ("variants.head.memory", "Peak, MiB", "内存峰值，MiB"),
    ("variants.head.energy", "J/token", "焦/词元"),
    ("col.kl", "KL divergence, nats/token", "KL 散度, nat/词元"),
    ("col.same_top", "Same first token", "首选词元相同"),
    ("nav.tradeoff", "Trade-offs", "权衡"),
    ("nav.accuracy", "Accuracy", "准确率"),
    ("nav.latency", "Latency", "延迟"),
    ("nav.energy", "Energy", "能耗"),
    ("nav.validity", "Validity", "有效性"),
    ("nav.cases", "Cases", "用例"),
    ("nav.wrong", "Wrong answers", "错误答案"),
    ("nav.environment", "Environment", "环境"),
    ("theme", "Light or dark", "浅色或深色"),
    ("head.runs", "Runs", "运行"),
    ("head.cases", "Test cases", "测试用例"),
    ("head.records", "Records answered", "已回答记录"),
    ("head.start", "Started", "开始时间"),
    ("advice.use", "On this board use", "在此开发板上建议使用"),
    ("advice.use-mixed", "Of all boards and objects the choice is", "在所有开发板与对象中建议选择"),
    ("advice.because", "because", "理由"),
    ("advice.none", "No object can be recommended: none came to its end.", "无法给出建议：没有任何对象完成全部用例。"),
    ("advice.others", "When something else matters more", "若另有侧重"),
    ("advice.doubts", "What speaks against trusting this", "可信度存疑之处"),
    (
        "advice.sound",
        "Every case came to its end, and nothing disturbed the board.",
        "所有用例均已完成，且开发板未受干扰。",
    ),
    ("why.only", "It is the only object that was measured.", "它是唯一被测量的对象。"),
    ("why.no-quality", "Accuracy was not measured, so speed decides.", "未测量准确率，因此由速度决定。"),
    (
        "why.best",
        "It answers {0} right, and no other interval reaches that high.",
        "准确率为 {0}，其他对象的区间均达不到。",
    ),
    ("why.fluent", "Its figure of {0} is the best: {1}.", "其{0}最佳：{1}。"),
    (
        "why.as-fluent",
        "Its figure of {0} is {1}; {2} of {3} objects are within 1 % of the best.",
        "其{0}为 {1}；{3} 个对象中有 {2} 个与最佳者相差不到 1 %。",
    ),
    (
        "why.tied",
        "It answers {0} right. {1} of {2} objects are as good as {3} records can tell: at most 3 points below the best, with overlapping 95 % intervals.",
        "准确率为 {0}。就 {3} 条记录而言，{2} 个对象中有 {1} 个同样好：与最佳者相差不超过 3 个百分点，且 95 % 区间重叠。",
    ),
    (
        "why.behind",
        "{0} got {1} points more right, which may be chance: more records would tell.",
        "{0} 的准确率高 {1} 个百分点，但可能出于偶然；需要更多记录才能判断。",
    ),
    ("why.fastest", "Of these it is the fastest: {0}, {1} times the next.", "其中它最快：{0}，是次快者的 {1} 倍。"),
    (
        "why.as-fast",
        "With {0} it is within 5 % of the fastest of these ({1}), and costs less.",
        "速度为 {0}，与其中最快者（{1}）相差不到 5 %，而代价更低。",
    ),
    ("why.least", "Of these it needs the least: {0}.", "其中它的需求最少：{0}。"),
    ("and", " and ", "、"),
    ("other.best", "Best answers: {0} with {1} (the choice: {2}).", "答案最佳：{0}，{1}（首选为 {2}）。"),
    ("other.fast", "Fastest: {0} with {1} (the choice: {2}).", "最快：{0}，{1}（首选为 {2}）。"),
    ("other.energy", "Least energy: {0} with {1} (the choice: {2}).", "最省电：{0}，{1}（首选为 {2}）。"),
    ("other.memory", "Least memory: {0} with {1} (the choice: {2}).", "内存最少：{0}，{1}（首选为 {2}）。"),
    ("other.points", " Accuracy: {0} points.", " 准确率相差 {0} 个百分点。"),
    (
        "doubt.wide",
        "The interval of its accuracy is {0} points wide: {1} records are few.",
        "其准确率区间宽达 {0} 个百分点：{1} 条记录偏少。",
    ),
    ("doubt.failed", "{0}, {1}: {2}: {3}", "{0}，{1}：{2}：{3}"),
    ("doubt.failed-more", "{0} more cases failed; see Cases.", "另有 {0} 个用例失败，见“用例”。"),
    ("doubt.invalid", "{0}, {1}: not valid: {2}", "{0}，{1}：无效：{2}"),
    ("doubt.invalid-more", "{0} more cases are not valid; see Validity.", "另有 {0} 个用例无效，见“有效性”。"),
    (
        "doubt.unknown",
        "{0} of {1} cases: nobody could tell whether the board was throttled or disturbed; see Validity.",
        "{1} 个用例中有 {0} 个无法判断开发板是否降频或受干扰，见“有效性”。",
    ),
    (
        "doubt.tasks",
        "Not all objects answered the same tasks, so their means are not of the same thing.",
        "各对象完成的任务不同，其平均值并非同一指标。",
    ),
    (
        "doubt.unfinished",
        "{0} has not come to its end: edgebench run --resume.",
        "{0} 尚未完成：请执行 edgebench run --resume。",
    ),
    ("doubt.file", "{0}: {1}", "{0}：{1}"),
    ("tile.interval", "95 %: {0}", "95 %：{0}"),
    ("col.rank", "#", "#"),
    ("col.name", "Object", "对象"),
    ("col.case", "Case", "用例"),
    ("col.task", "Task", "任务"),
    ("col.valid", "Valid", "有效"),
    ("col.paradigm", "Paradigm", "范式"),
    ("paradigm.title", "The best of each paradigm", "各范式中的最佳对象"),
    ("paradigm.best", "Best object", "最佳对象"),
    ("paradigm.quality", "Quality, 95 %", "质量, 95 %"),
    ("paradigm.tried", "Objects tried", "参评对象数"),
    ("paradigm.pretrained", "Pretrained", "预训练"),
    ("paradigm.finetuned", "Fine-tuned", "微调"),
    ("paradigm.self-supervised", "Self-supervised", "自监督"),
    ("paradigm.multitask", "Multi-task", "多任务"),
    ("col.acc", "Accuracy", "准确率"),
    ("col.perplexity", "Perplexity", "困惑度"),
    ("col.word_perplexity", "Word perplexity", "词困惑度"),
    ("col.byte_perplexity", "Byte perplexity", "字节困惑度"),
    ("col.target_perplexity", "Perplexity of last words", "末词困惑度"),
    ("col.bits_per_byte", "Bits per byte", "每字节比特数"),
    ("col.n", "n", "n"),
    ("col.ttft_ms_p50", "TTFT, ms", "首词延迟, ms"),
    ("col.e2e_ms_p50", "End to end, ms", "端到端, ms"),
    ("col.prefill_tok_s", "Prefill, tok/s", "预填充, tok/s"),
    ("col.decode_tok_s", "Decode, tok/s", "解码, tok/s"),
    ("col.output_tok_s", "Output, tok/s", "输出, tok/s"),
    ("col.records_s", "Records, records/s", "记录速率, 条/s"),
    ("col.acc_before", "Accuracy before", "训练前准确率"),
    ("col.loss_first", "First loss, nats/token", "初始损失, nat/词元"),
    ("col.loss_last", "Last loss, nats/token", "最终损失, nat/词元"),
    ("col.val_loss", "Held-out loss, nats/token", "留出损失, nat/词元"),
    ("col.train_tok_s", "Training, tok/s", "训练, tok/s"),
    ("col.rss_peak_mib", "Peak memory, MiB", "内存峰值, MiB"),
    ("col.energy_j_per_token", "Energy per token, J/token", "每词元能耗, J/词元"),
    ("col.energy_j_per_record", "Energy per record, J/record", "每记录能耗, J/条"),
    ("col.temp_c", "Temperature, °C", "温度, °C"),
    ("col.freq_mhz", "Clock, MHz", "频率, MHz"),
    (
        "leaderboard.note",
        "Objects with overlapping accuracy intervals share a rank. ◆: on the Pareto front: nobody is as good in everything and better in something. Figures over several tasks are means. Select a heading to sort.",
        "准确率区间重叠的对象名次相同。◆：位于帕累托前沿，即没有对象在各方面不逊于它且在某方面更优。多任务的数值为平均值。点击表头可排序。",
    ),
    ("leaderboard.front", "on the Pareto front", "位于帕累托前沿"),
    ("failed", "{0} of {1} failed", "{1} 个中 {0} 个失败"),
    ("valid.yes", "valid", "有效"),
    ("valid.no", "not valid", "无效"),
    ("valid.unknown", "unknown", "未知"),
    (
        "learning.note",
        "Each checkpoint as this board judged it. Bars are 95 % intervals; the ring is the best one, the upright line is where it stopped. A hollow point is a speed that is not valid, for example because the evaluation made room for the training. The rest of the page is about the first, the best and the last checkpoint.",
        "每个检查点由本板评测。竖条为 95 % 区间；圆环为最佳检查点，竖线为停止之处。空心点表示速度无效，例如评测为训练让出了资源。本页其余部分针对最初、最佳和最后的检查点。",
    ),
    ("learning.title", "Quality and speed of checkpoints", "检查点的质量与速度"),
    ("learning.step", "step of the training", "训练步数"),
    ("learning.order", "checkpoints in their order", "检查点顺序"),
    ("learning.best", "best", "最佳"),
    ("learning.plateau", "stopped: plateau", "停止：不再提升"),
    ("learning.ended", "end", "结束"),
    ("learning.first", "the first", "首个"),
    ("learning.better", "better than {0}", "优于 {0}"),
    ("learning.worse", "worse than {0}", "劣于 {0}"),
    ("learning.same", "tied with {0}", "与 {0} 不相上下"),
    ("learning.none", "No checkpoint has been judged.", "尚无检查点得到评测。"),
    ("learning.told", "The best is {0}: {1} {2} ({3}).", "最佳为 {0}：{1} {2}（{3}）。"),
    (
        "learning.told-plateau",
        "It stopped after {0}: {1} checkpoints in a row without a significant gain.",
        "在 {0} 之后停止：连续 {1} 个检查点没有显著提升。",
    ),
    ("learning.told-ended", "It ended after {0}.", "在 {0} 之后结束。"),
    ("learning.told-open", "The last one so far is {0}.", "目前最后一个为 {0}。"),
    ("learning.checkpoint", "Checkpoint", "检查点"),
    ("learning.head-step", "Step", "步数"),
    ("learning.verdict", "Verdict", "判定"),
    (
        "tradeoff.note",
        "Accuracy: up is better; perplexity: down. Bars are 95 % intervals; large blue points are on the Pareto front.",
        "准确率越高越好，困惑度越低越好。竖线为 95 % 区间；蓝色大圆点位于帕累托前沿。",
    ),
    ("accuracy.note", "Bars are 95 % intervals, from 0 to 100 %.", "横条为 95 % 区间，范围 0 至 100 %。"),
    ("accuracy.subjects", "Subjects and groups: {0}", "科目与分组：{0}"),
    (
        "accuracy.left-out",
        "Subjects of {0} more objects are in subjects.csv.",
        "另有 {0} 个对象的科目数据见 subjects.csv。",
    ),
    (
        "latency.note",
        "The share of records answered within a time: further left is faster, steeper is steadier. Each line is one object.",
        "在给定时间内完成的记录比例：越靠左越快，越陡越稳定。每条线为一个对象。",
    ),
    ("latency.ttft", "Time to first token", "首词延迟"),
    ("latency.itl", "Gap between tokens (median of a record)", "词元间隔（每条记录的中位数）"),
    ("latency.e2e", "End to end", "端到端"),
    ("latency.share", "records, %", "记录, %"),
    ("latency.table", "Percentiles in ms", "百分位数（ms）"),
    (
        "latency.first",
        "Drawn are the first {0} objects of the leaderboard; the table has all.",
        "图中为排行榜前 {0} 个对象；表格包含全部。",
    ),
    ("latency.head.ttft", "TTFT", "首词延迟"),
    ("latency.head.itl", "Gap", "词元间隔"),
    ("latency.head.e2e", "End to end", "端到端"),
    (
        "energy.note",
        "The bar shows where the energy of a case went. Rails are those that the board offers, not the socket.",
        "横条表示各用例能耗的去向。所示为开发板提供的供电轨，而非插座功率。",
    ),
    ("energy.total", "Passes, J", "测试, J"),
    ("energy.net", "Less idle, J", "减去空闲, J"),
    ("energy.token", "J/token", "J/词元"),
    ("energy.record", "J/record", "J/条"),
    ("energy.correct", "J/right answer", "J/正确答案"),
    ("energy.power", "Mean W", "平均 W"),
    ("energy.idle", "Idle W", "空闲 W"),
    ("energy.rail", "Rail", "供电轨"),
    ("energy.split", "Split", "构成"),
    (
        "validity.note",
        "A figure of a board that was throttled, swapped or did something else at the same time is not valid. The evidence is what was seen.",
        "若测量时开发板降频、换页或同时在做其他工作，则数值无效。证据为实际观察到的情况。",
    ),
    ("validity.warnings", "Warnings", "警告"),
    ("validity.evidence", "Evidence", "证据"),
    ("validity.status", "Status", "状态"),
    (
        "cases.note",
        "What the board did while each case ran, and where the time of the slowest records went.",
        "每个用例运行期间开发板的状态，以及最慢记录的时间去向。",
    ),
    ("cases.slowest", "Slowest records", "最慢的记录"),
    ("cases.record", "Record", "记录"),
    ("cases.pass", "Pass", "轮次"),
    ("cases.tokens", "Tokens", "词元"),
    ("cases.time", "ms", "ms"),
    ("cases.where", "Where the time went", "时间去向"),
    ("cases.nothing", "Nothing was recorded of this case beside its row.", "除结果行外，此用例没有其他记录。"),
    ("timeline.x", "seconds since the case began", "用例开始后的秒数"),
    ("timeline.title", "The board during the case", "用例期间的开发板状态"),
    (
        "loss.title",
        "Loss of the training (line) and of held-out texts (points)",
        "训练损失（线）与留出文本的损失（点）",
    ),
    ("loss.step", "step", "步"),
    ("loss.loss", "loss, nats per token", "损失，nat/词元"),
    ("loss.held-out", "held-out texts after step {0}: {1}", "第 {0} 步后留出文本：{1}"),
    ("sustained.title", "Sustained speed", "持续速度"),
    ("phase.cooldown", "cooling down", "冷却"),
    ("phase.idle", "idle, queue", "空闲、排队"),
    ("phase.load", "load", "加载"),
    ("phase.warmup", "warm-up", "预热"),
    ("phase.prefill", "prefill", "预填充"),
    ("phase.decode", "decode", "解码"),
    ("phase.score", "options scored", "选项评分"),
    ("phase.train", "training", "训练"),
    ("phase.between", "between", "间隙"),
    (
        "wrong.note",
        "Records that were answered wrong; those that most objects got wrong come first: they are hard, or their gold answer is.",
        "答错的记录；多数对象都答错的排在最前：可能题目很难，也可能标准答案有误。",
    ),
    (
        "wrong.shown",
        "{0} of {1} wrong answers are shown; predictions.jsonl has all.",
        "显示 {1} 个错误答案中的 {0} 个；全部见 predictions.jsonl。",
    ),
    ("wrong.none", "No wrong answers.", "没有错误答案。"),
    ("wrong.all-cases", "all cases", "全部用例"),
    ("wrong.search", "Search", "搜索"),
    ("wrong.count", "records", "条记录"),
    ("wrong.by", "{0} of {1} wrong", "{1} 个中 {0} 个答错"),
    ("wrong.gold", "gold", "标准答案"),
    ("wrong.no-prompt", "The dataset is no longer there, or has changed.", "数据集已不存在或已更改。"),
    ("wrong.no-answer", "no answer", "无答案"),
    ("environment.note", "What was run, on what, and when: manifest.json.", "运行内容、平台与时间：manifest.json。"),
    ("environment.job", "Job", "任务文件"),
    (
        "footer",
        "Written by edgebench {0}. This page loads nothing from elsewhere.",
        "由 edgebench {0} 生成。本页不从外部加载任何内容。",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_there_once_and_fills_the_same_places_in_both_languages() {
        let places = |text: &str| -> std::collections::BTreeSet<String> {
            text.split('{').skip(1).filter_map(|p| Some(p.split_once('}')?.0.to_owned())).collect()
        };
        for (i, (key, en, zh)) in TEXTS.iter().enumerate() {
            assert!(TEXTS[..i].iter().all(|(other, _, _)| other != key), "{key} is there twice");
            assert_eq!(places(en), places(zh), "{key}");
            let has_unit = |text: &str| key.starts_with("col.") && text.contains(", ");
            assert_eq!(has_unit(en), has_unit(zh), "{key}: a unit in one language only");
        }
    }

    #[test]
    fn what_the_template_asks_for_is_there() {
        let text = Text::new(Language::En);
        for part in super::super::page::TEMPLATE.split("t(\"").skip(1) {
            let key = part.split('"').next().unwrap_or_default();
            // A key that ends in a dot goes on with a value.
            let begins = |(other, _, _): &(&str, &str, &str)| key.ends_with('.') && other.starts_with(key);
            assert!(text.get(key).is_some() || TEXTS.iter().any(begins), "{key}");
        }
    }

    #[test]
    fn what_the_other_files_ask_for_is_there() {
        let text = Text::new(Language::En);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/story/report");
        let mut asked = 0;
        for file in
            std::fs::read_dir(folder).unwrap().flatten().filter(|f| f.path().extension().is_some_and(|e| e == "rs"))
        {
            let source = std::fs::read_to_string(file.path()).unwrap();
            for name in TEXTS.iter().filter_map(|(key, _, _)| key.split_once('.')).map(|(name, _)| name) {
                for part in source.split(&format!("\"{name}.")).skip(1) {
                    let rest = part.split('"').next().unwrap_or_default();
                    asked += 1;
                    // What ends in a dot, or has a place in it, goes on with a value.
                    let goes_on = rest.is_empty() || rest.ends_with('.') || rest.contains('{');
                    assert!(goes_on || text.get(&format!("{name}.{rest}")).is_some(), "{name}.{rest}");
                }
            }
        }
        assert!(asked > 0);
    }

    #[test]
    fn places_are_filled_in() {
        let text = Text::new(Language::Zh);
        assert_eq!(text.fill("failed", &["1", "7"]), "7 个中 1 个失败");
        assert_eq!(Text::new(Language::En).column("decode_tok_s"), "Decode, tok/s");
        assert_eq!(Text::new(Language::En).column("own"), "own");
    }
}

//! Does each check find what it is there for? The mock backend's source with one line changed, a check that has
//! to notice. It must not know how checks work.

use crate::common::{Bench, root};

/// Check that must notice, text in `mock.c`, what stands there instead.
type Mutant = (&'static str, &'static str, &'static str);

/// Compiles `source` and asks the check `id` about it; gives its row of the report.
fn ask(id: &str, source: &str, param: &str) -> serde_json::Value {
    let bench = Bench::new();
    let file = bench.write("mutant.c", source);
    let out = std::process::Command::new("cc")
        .args(["-std=c99", "-w", "-shared", "-fPIC", "-I"])
        .arg(root().join("backends"))
        .arg(file)
        .arg("-o")
        .arg(bench.path().join("mutant.so"))
        .args(["-lm", "-lpthread"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{id}: {}", String::from_utf8_lossy(&out.stderr));
    let arguments = ["conform", "./mutant.so", "--json", "--only", id, "--timeout", "10", "--param", param];
    let out = bench.edgebench(&arguments).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    report["checks"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap().clone()
}

fn mutated(id: &str, old: &str, new: &str) -> String {
    let source = std::fs::read_to_string(root().join("backends/mock/mock.c")).unwrap();
    assert!(source.contains(old), "{id}: mock.c has changed, `{old}` is not there");
    source.replacen(old, new, 1)
}

fn noticed(mutants: &[Mutant]) {
    for (id, old, new) in mutants {
        // An answer with ends in it, and prompts that take a while.
        let param = if *id == "ignore-eos" { "text=hello" } else { "prefill_us=100" };
        let check = ask(id, &mutated(id, old, new), param);
        let noticed = ["failed", "crashed", "warning"].contains(&check["status"].as_str().unwrap());
        assert!(noticed, "{id} does not notice `{new}`: {check:#}");
    }
}

const LIFE: &[Mutant] = &[
    ("probe", "out->device_count = 1;", "out->device_count = 0;"),
    (
        "extension-unknown",
        "if (offer_score && eb_str_eq(name, EB_EXT_SCORE))",
        "if (offer_score && (name.len == 0 || memcmp(name.ptr, EB_EXT_SCORE, name.len < 10 ? name.len : 10) == 0))",
    ),
    ("close-null", "if (m && m->fault", "if (m->fault"),
    ("open-unknown-param", "if (taken != 1) {", "if (taken == 0) {"),
    (
        "open-unknown-param",
        "return eb_fail(error, EB_ERR_INVALID, message);",
        "return eb_fail(error, EB_ERR_MODEL, message);",
    ),
    ("open-unknown-param", "    *out = NULL;\n", ""),
    (
        "error-struct",
        "return eb_fail(error, EB_ERR_INVALID, message);",
        "{ eb_fail(error, EB_ERR_INVALID, message); memset(error->message, 120, 248); return EB_ERR_INVALID; }",
    ),
    (
        "error-struct",
        "return eb_fail(error, EB_ERR_INVALID, message);",
        "{ eb_fail(error, EB_ERR_INVALID, message); return EB_ERR_MODEL; }",
    ),
    ("info", "out->n_ctx = out->n_ctx_train = (uint32_t)m->n_ctx;", ""),
    ("info", "out->flags = m->tokenizer ? EB_INFO_TOKENIZER : 0;", "out->flags = 0;"),
    (
        "newer-host",
        "    eb_session *m = calloc(1, sizeof *m);",
        "    eb_session *m = calloc(1, sizeof *m);\n if (p->struct_size != sizeof *p) return eb_fail(error, EB_ERR_INVALID, \"size\");",
    ),
    (
        "newer-host",
        "    uint64_t state = m->seed;\n",
        "    uint64_t state = m->seed + (r->struct_size != sizeof *r);\n",
    ),
];

const TOKENS: &[Mutant] = &[
    ("tokenize-round-trip", "(int32_t)(unsigned char)text.ptr[i - bos]", "(int32_t)(text.ptr[i - bos] & 127)"),
    ("tokenize-capacity", "i < *n_tokens && i < capacity", "i < *n_tokens && i < capacity + (tokens != NULL)"),
    ("tokenize-capacity", "return *n_tokens <= capacity ? EB_OK :", "return 1 ? EB_OK :"),
    (
        "tokenize-capacity",
        "    *n_tokens = text.len + bos;",
        "    *n_tokens = text.len + bos; if (*n_tokens > capacity) { *n_tokens = capacity + 1; }",
    ),
    ("detokenize-capacity", "if (*length < capacity) text[*length]", "if (*length <= capacity && text) text[*length]"),
    ("tokenize-special", "(flags & EB_TOKENIZE_ADD_SPECIAL) ? 1 : 0", "1"),
    (
        "tokenize-bounds",
        "    *n_tokens = text.len + bos;",
        "    if (text.len == 5) text.len = strlen(text.ptr) > 12 ? 6 : 5; *n_tokens = text.len + bos;",
    ),
];

const CALLS: &[Mutant] = &[
    (
        "generate-events",
        "    e.prompt_tokens = (uint32_t)n;",
        "    e.prompt_tokens = (uint32_t)n; e.cached_tokens = 1;",
    ),
    ("max-new", "made < r->max_new && n", "made <= r->max_new && n"),
    ("max-new", "    int32_t finish = EB_FINISH_LENGTH;", "    int32_t finish = EB_FINISH_STOP;"),
    ("ignore-eos", "&& !(r->flags & EB_REQUEST_IGNORE_EOS)", ""),
    ("sink-stop", "            finish = EB_FINISH_SINK;\n            break;", "            ;"),
    ("sink-stop", "            finish = EB_FINISH_SINK;\n            break;", "            break;"),
    (
        "stop-string",
        "        if (stopped(r, tail, in_tail)) {\n            finish = EB_FINISH_STOP;",
        "        if (made > 2 && r->n_stop) {\n            finish = EB_FINISH_STOP;",
    ),
    ("stop-string", "        if (stopped(r, tail, in_tail)) {", "        if (0) {"),
    (
        "deterministic",
        "    uint64_t state = m->seed;\n    size_t n = r",
        "    uint64_t state = m->seed + m->calls;\n    size_t n = r",
    ),
    ("deterministic-session", "    m->seed = 1;", "    { static int k; m->seed = 1 + k++; }"),
    ("deterministic-process", "    m->seed = 1;", "    m->seed = (uint64_t)getpid();"),
    ("reset", "    (void)m;\n    (void)error;\n    return EB_OK;", "    m->seed++; (void)error;\n    return EB_OK;"),
    (
        "seed",
        "out->flags = m->tokenizer ? EB_INFO_TOKENIZER : 0;",
        "out->flags = EB_INFO_TOKENIZER | EB_INFO_SAMPLING;",
    ),
];

const INPUT: &[Mutant] = &[
    (
        "batch",
        "        generate_one(m, requests[i], sink, m->fault == FAULT_BAD_UTF8 && m->calls >= m->fault_at);",
        "        m->seed += i != 0, generate_one(m, requests[i], sink, 0);",
    ),
    ("tokens-input", "    if (!r->n_tokens) state = mix(state, BOS);", ""),
    (
        "prefix-hint",
        "    uint64_t state = m->seed;\n    size_t n = r",
        "    uint64_t state = m->seed + r->prefix_id;\n    size_t n = r",
    ),
    ("context-full", "    if (n + 1 > m->n_ctx) {", "    if (0) {"),
    (
        "context-full",
        "EB_FINISH_ERROR, EB_ERR_CONTEXT_FULL, \"the prompt",
        "EB_FINISH_ERROR, EB_ERR_INVALID, \"the prompt",
    ),
    (
        "empty-prompt",
        "    uint64_t state = m->seed;\n    size_t n = r",
        "    uint64_t state = m->seed + (r->text.len == 0 && !r->n_tokens ? (uint64_t)*(volatile char *)NULL : 0);\n    size_t n = r",
    ),
    (
        "text-bounds",
        "    uint64_t state = m->seed;\n    size_t n = r",
        "    uint64_t state = m->seed + (r->text.ptr ? strlen(r->text.ptr) : 0);\n    size_t n = r",
    ),
    ("abort-idle", "    size_t i;\n    eb_status status;\n    m->aborted = 0;", "    size_t i;\n    eb_status status;"),
    ("abort-generate", "m->aborted = 1;", "(void)m;"),
    ("abort-generate", "        if (m->aborted) {\n            finish", "        if (0) {\n            finish"),
    (
        "abort-prefill",
        "m->prefill_us && !m->aborted; i++) pause_us(m->prefill_us);\n    send_prefill",
        "m->prefill_us; i++) pause_us(m->prefill_us);\n    send_prefill",
    ),
];

const SCORE: &[Mutant] = &[
    ("score-events", "            e.index = c;", "            e.index = 0;"),
    ("score-events", "            e.n_tokens = (uint32_t)q->n_tokens[c];", "            e.n_tokens = 1;"),
    ("score-deterministic", "        uint64_t context = m->seed;", "        uint64_t context = m->seed + m->calls;"),
    ("score-grouping", "            uint64_t state = context;", "            uint64_t state = context + c;"),
    (
        "score-chain",
        "            sink->event(sink->user, &e);",
        "            e.logprob /= e.n_tokens; sink->event(sink->user, &e);",
    ),
    ("score-greedy", "e.is_greedy &= best == token;", "e.is_greedy &= best != token;"),
    ("score-prefix", "        uint64_t context = m->seed;", "        uint64_t context = m->seed + q->prefix_id;"),
    ("score-context-full", "if (q->n_context + longest > m->n_ctx) {", "if (0) {"),
];

const RESOURCES: &[Mutant] = &[
    (
        "memory-growth",
        "    uint64_t state = m->seed;\n    size_t n = r",
        "    uint64_t state = m->seed;\n    char *leak = memset(malloc(400000), 1, 400000); size_t n = r",
    ),
    ("descriptors", "    pause_us(m->load_us);", "    if (dup(1) < 0) return 9;"),
    ("quiet", "    pause_us(m->load_us);", "    puts(\"hello\");"),
    (
        "threads",
        "    pause_us(m->load_us);",
        "    { pthread_t t; pthread_create(&t, NULL, (void *(*)(void *))pause, NULL); }",
    ),
];

#[test]
fn mistakes_in_opening_and_structs_are_noticed() {
    noticed(LIFE);
}

#[test]
fn mistakes_of_a_tokenizer_are_noticed() {
    noticed(TOKENS);
}

#[test]
fn mistakes_in_generate_are_noticed() {
    noticed(CALLS);
}

#[test]
fn mistakes_with_unusual_inputs_and_abort_are_noticed() {
    noticed(INPUT);
}

#[test]
fn mistakes_in_scores_are_noticed() {
    noticed(SCORE);
}

#[test]
fn leaks_are_noticed() {
    noticed(RESOURCES);
}

/// The mock backend with one device and one rail: `past` is what the device past the last gives, `watts` the power.
fn with_devices(past: &str, watts: &str) -> String {
    let before = "static const void *mock_get_extension(eb_str name) {\n";
    let extensions = format!(
        "static eb_status get(uint32_t i, eb_device *out, eb_error *error) {{
            if (i > 0) return {past};
            out->name = str(\"NPU\");
            return EB_OK;
        }}
        static eb_str rail(uint32_t i) {{ return str(i ? \"\" : \"NPU\"); }}
        static eb_status watt(uint32_t i, double *w, eb_error *error) {{ *w = {watts}; return EB_OK; }}
        static const eb_device_v1 device = {{sizeof device, 0, get}};
        static const eb_power_v1 power = {{sizeof power, 1, rail, watt}};
        {before}
        if (eb_str_eq(name, EB_EXT_DEVICE)) return &device;
        if (eb_str_eq(name, EB_EXT_POWER)) return &power;\n"
    );
    mutated("devices", before, &extensions)
}

#[test]
fn devices_and_rails_are_checked_where_they_are_offered() {
    let sound = with_devices("eb_fail(error, EB_ERR_INVALID, \"no such device\")", "2.5");
    let broken = with_devices("EB_OK", "-1");
    for id in ["device", "power"] {
        let check = ask(id, &sound, "seed=1");
        assert_eq!(check["status"], "success", "{check:#}");
        let check = ask(id, &broken, "seed=1");
        assert_eq!(check["status"], "failed", "{check:#}");
    }
}

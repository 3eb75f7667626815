//! Does each check find what it is there for? The mock backend's source with one line changed, a check that has
//! to notice. It must not know how checks work.

use crate::common::{Bench, compile, mock, mock_source};

/// Check that must notice, text in `mock.c`, what stands there instead.
type Mutant = (&'static str, &'static str, &'static str);

/// The row of the check `id` in the report about a plugin.
fn row(bench: &Bench, id: &str, plugin: &str, params: &[&str]) -> serde_json::Value {
    let params = params.iter().flat_map(|p| ["--param", p]);
    let words = ["conform", plugin, "--json", "--only", id, "--timeout", "10"];
    let out = bench.edgebench(&words.into_iter().chain(params).collect::<Vec<_>>()).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    report["checks"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap().clone()
}

/// Asks the check `id` about a mutant.
fn ask(id: &str, old: &str, new: &str, params: &[&str]) -> serde_json::Value {
    let bench = Bench::new();
    bench.write("mutant.c", mock_source(old, new));
    compile(bench.path(), &["-w", "mutant.c", "-o", "mutant.so", "-lm", "-lpthread"]);
    row(&bench, id, "./mutant.so", params)
}

fn noticed(mutants: &[Mutant]) {
    for (id, old, new) in mutants {
        // An answer with ends in it, and prompts that take a while.
        let param = if *id == "ignore-eos" { "text=hello" } else { "prefill_us=100" };
        let check = ask(id, old, new, &[param]);
        let noticed = ["failed", "crashed", "warning"].contains(&check["status"].as_str().unwrap());
        assert!(noticed, "{id} does not notice `{new}`: {check:#}");
    }
}

const LIFE: &[Mutant] = &[
    ("probe", "out->device_count = (uint32_t)n_devices;", "out->device_count = 0;"),
    ("logits", "        if (i < first) continue;\n", ""),
    (
        "logits",
        "for (t = 0; t < N_VOCAB; t++) logits[t] = (float)logit(state, t);",
        "for (t = 0; t < N_VOCAB; t++) logits[t] = (float)logit(state + 1, t);",
    ),
    ("logits", "if (row(user, logits, N_VOCAB)) break;", "row(user, logits, N_VOCAB);"),
    (
        "logits",
        "if (n_tokens > m->n_ctx) return eb_fail(error, EB_ERR_CONTEXT_FULL",
        "if (n_tokens > m->n_ctx + 9) return eb_fail(error, EB_ERR_CONTEXT_FULL",
    ),
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
    ("tokenize-round-trip", "int32_t token = (unsigned char)text.ptr[i];", "int32_t token = text.ptr[i] & 127;"),
    (
        "tokenize-capacity",
        "if (n < capacity) tokens[n] = token;",
        "if (n < capacity + (tokens != NULL)) tokens[n] = token;",
    ),
    ("tokenize-capacity", "return *n_tokens <= capacity ? EB_OK :", "return 1 ? EB_OK :"),
    (
        "tokenize-capacity",
        "    *n_tokens = tokenize(text, flags, tokens, capacity);",
        "    *n_tokens = tokenize(text, flags, tokens, capacity); if (*n_tokens > capacity) { *n_tokens = capacity + 1; }",
    ),
    ("detokenize-capacity", "if (*length < capacity) text[*length]", "if (*length <= capacity && text) text[*length]"),
    ("tokenize-special", "    if (flags & EB_TOKENIZE_ADD_SPECIAL) {", "    if (1) {"),
    (
        "tokenize-bounds",
        "    *n_tokens = tokenize(text, flags, tokens, capacity);",
        "    if (text.len == 5) text.len = strlen(text.ptr) > 12 ? 6 : 5; *n_tokens = tokenize(text, flags, tokens, capacity);",
    ),
];

const CALLS: &[Mutant] = &[
    (
        "generate-events",
        "    e.prompt_tokens = (uint32_t)n;",
        "    e.prompt_tokens = (uint32_t)n; e.cached_tokens = 1;",
    ),
    ("max-new", "run->made == r->max_new ||", "run->made > r->max_new ||"),
    ("max-new", "EB_FINISH_LENGTH, EB_OK", "EB_FINISH_STOP, EB_OK"),
    ("ignore-eos", "&& !(r->flags & EB_REQUEST_IGNORE_EOS)", ""),
    ("sink-stop", "        send_done(sink, r->id, EB_FINISH_SINK, EB_OK, NULL);\n        return 0;", "        ;"),
    ("sink-stop", "EB_FINISH_SINK, EB_OK", "EB_FINISH_LENGTH, EB_OK"),
    ("stop-string", "if (stopped(r, run->tail, run->in_tail)) {", "if (run->made > 3 && r->n_stop) {"),
    ("stop-string", "if (stopped(r, run->tail, run->in_tail)) {", "if (0) {"),
    (
        "deterministic",
        "    uint64_t state = m->seed;\n    uint64_t flags",
        "    uint64_t state = m->seed + m->calls;\n    uint64_t flags",
    ),
    ("deterministic-session", "    m->seed = 1;", "    { static int k; m->seed = 1 + k++; }"),
    ("deterministic-process", "    m->seed = 1;", "    m->seed = (uint64_t)getpid();"),
    (
        "reset",
        "    m->prefix_id = 0;\n    (void)error;\n    return EB_OK;",
        "    m->seed++; (void)error;\n    return EB_OK;",
    ),
    (
        "seed",
        "out->flags = m->tokenizer ? EB_INFO_TOKENIZER : 0;",
        "out->flags = EB_INFO_TOKENIZER | EB_INFO_SAMPLING;",
    ),
];

const INPUT: &[Mutant] = &[
    (
        "batch",
        "running += (size_t)begin(m, requests[next++]",
        "m->seed += next != 0, running += (size_t)begin(m, requests[next++]",
    ),
    (
        "tokens-input",
        "        tokenize(r->text, flags, own, n);",
        "        tokenize(r->text, flags, own, n); own[0] = 'x';",
    ),
    (
        "prefix-hint",
        "    uint64_t state = m->seed;\n    uint64_t flags",
        "    uint64_t state = m->seed + r->prefix_id;\n    uint64_t flags",
    ),
    ("context-full", "    if (n + 1 > m->n_ctx) {", "    if (0) {"),
    (
        "context-full",
        "EB_FINISH_ERROR, EB_ERR_CONTEXT_FULL, \"the prompt",
        "EB_FINISH_ERROR, EB_ERR_INVALID, \"the prompt",
    ),
    (
        "empty-prompt",
        "    uint64_t state = m->seed;\n    uint64_t flags",
        "    uint64_t state = m->seed + (r->text.len == 0 && !r->n_tokens ? (uint64_t)*(volatile char *)NULL : 0);\n    uint64_t flags",
    ),
    (
        "text-bounds",
        "    uint64_t state = m->seed;\n    uint64_t flags",
        "    uint64_t state = m->seed + (r->text.ptr ? strlen(r->text.ptr) : 0);\n    uint64_t flags",
    ),
    ("abort-idle", "    size_t i;\n    eb_status status;\n    m->aborted = 0;", "    size_t i;\n    eb_status status;"),
    ("abort-generate", "m->aborted = 1;", "(void)m;"),
    ("abort-generate", "    if (m->aborted) {\n        send_done(sink, r", "    if (0) {\n        send_done(sink, r"),
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
    ("score-context-full", "longest - 1 > m->n_ctx", "longest > m->n_ctx"),
    ("context-edge", "|| run->n + run->made >= m->n_ctx", ""),
    ("context-edge", "    if (n + 1 > m->n_ctx) {", "    if (n + r->max_new > m->n_ctx) {"),
    (
        "abort-generate",
        "send_done(sink, r->id, EB_FINISH_ABORTED, EB_ERR_ABORTED, \"aborted\")",
        "send_done(sink, r->id, EB_FINISH_ABORTED, EB_OK, NULL)",
    ),
    ("score-context-full", "if (q->n_context + longest - 1 > m->n_ctx) {", "if (0) {"),
];

const RESOURCES: &[Mutant] = &[
    (
        "memory-growth",
        "    uint64_t state = m->seed;\n    uint64_t flags",
        "    uint64_t state = m->seed;\n    char *leak = memset(malloc(400000), 1, 400000); uint64_t flags",
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

#[test]
fn a_device_beyond_the_last_and_one_without_memory_are_noticed() {
    let past = ("if (index >= n_devices)", "if (index > n_devices)");
    let full = ("out->memory_free_bytes = device_memory / 2;", "out->memory_free_bytes = device_memory * 2;");
    for (old, new) in [past, full] {
        let check = ask("device", old, new, &[]);
        assert_eq!(check["status"], "failed", "{new}: {check:#}");
    }
}

#[test]
fn rails_are_read_alone_and_while_the_model_runs() {
    // With 2 ms per token, answers are long enough to be overlapped.
    let of = |params: &[&str]| row(&Bench::new(), "power", mock().to_str().unwrap(), params);
    let slow = "token_us=2000";
    assert_eq!(of(&[slow])["status"], "skipped");
    let check = of(&[slow, "power=NPU:2.5,DDR:0.5", "power_ramp_mw=100"]);
    assert_eq!(check["status"], "success", "{check:#}");
    for (power, words) in [("NPU:-1", "reads -1 W"), ("NPU:nan", "reads NaN W"), ("NPU:2500000", "reads 2500000 W")] {
        let check = of(&[slow, &format!("power={power}")]);
        assert_eq!(check["status"], "failed", "{check:#}");
        assert!(check["message"].as_str().unwrap().contains(words), "{check:#}");
    }
    let check = of(&[slow, "power=NPU:1", "power_block_us=5000"]);
    assert_eq!(check["status"], "warning", "{check:#}");

    let rail = "NPU:1";
    let waits = ("    pause_us(power_block_us);", "    while (last_session && last_session->busy) pause_us(1000);");
    let busy = |source: String| {
        source
            .replacen("static int offer_score = 1;", "static int offer_score = 1; static eb_session *last_session;", 1)
            .replacen("int score, tokenizer, fault;", "int score, tokenizer, fault; volatile int busy;", 1)
            .replacen("    *out = m;\n", "    *out = last_session = m;\n", 1)
            .replacen("    m->aborted = 0;\n    status", "    m->aborted = 0; m->busy = 1;\n    status", 1)
            .replacen("    return m->aborted ? eb_fail", "    m->busy = 0; return m->aborted ? eb_fail", 1)
    };
    let bench = Bench::new();
    bench.write("mutant.c", busy(mock_source(waits.0, waits.1)));
    compile(bench.path(), &["-w", "mutant.c", "-o", "mutant.so", "-lm", "-lpthread"]);
    let check = row(&bench, "power", "./mutant.so", &[slow, &format!("power={rail}")]);
    assert!(check["message"].as_str().unwrap().contains("never wait for generate() to end"), "{check:#}");
}

#[test]
fn trainings_that_tell_nonsense_or_do_not_end_are_noticed() {
    noticed(&[
        ("train-input", "r->epochs == 0 ||", ""),
        ("train-input", "!(r->learning_rate > 0) || !isfinite(r->learning_rate) ||", ""),
        ("train-input", "if (wrong) return eb_fail(error, EB_ERR_MODEL, wrong);", ""),
        ("train-steps", "s.step = step;", "s.step = step + 1;"),
        ("train-steps", "s.tokens = tokens;", "s.tokens = 64;"),
        ("train-steps", "s.struct_size = sizeof s;", "s.struct_size = 8;"),
        ("train-steps", "return r->step ? r->step(r->step_user, &s) : 0;", "r->step(r->step_user, &s); return 0;"),
        ("train-steps", "s.loss = is_validation", "s.loss = 0.0 / 0.0; if (0) s.loss = is_validation"),
        ("train-steps", "if (tell(r, 1, 1, 0, per_epoch * r->epochs, 0))", "if (0)"),
    ]);
}

#[test]
fn adapters_that_stay_or_act_at_scale_0_are_noticed() {
    let bench = Bench::new();
    let adapter = format!("lora={}", bench.write("a.lora", "mock-lora a").display());
    for (id, old, new) in [
        ("lora-empty", "uint64_t seed = m->own_seed;", "uint64_t seed = m->own_seed + (n == 0);"),
        (
            "lora-empty",
            "if (!hash) return eb_fail(error, EB_ERR_MODEL,",
            "if (!hash) return eb_fail(error, EB_ERR_INVALID,",
        ),
        ("lora-empty", "if (!hash) return eb_fail(", "if (!hash) m->seed++; if (!hash) return eb_fail("),
        ("lora-scale", "if (adapters[i]->scale != 0) seed", "seed"),
        ("lora-scale", "uint64_t seed = m->own_seed;", "uint64_t seed = m->seed;"),
        ("lora-scale", "if (!isfinite(adapters[i]->scale))", "if (0)"),
    ] {
        let check = ask(id, old, new, &[&adapter]);
        assert_eq!(check["status"], "failed", "{id} does not notice `{new}`: {check:#}");
    }
}

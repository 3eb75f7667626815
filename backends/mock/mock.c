/*
 * mock - a deterministic backend without a model, for tests and demonstrations, that misbehaves on request.
 *
 *   cc -std=c99 -O2 -shared -fPIC -I backends -o libmock.so backends/mock/mock.c -lm -lpthread
 *
 * Its tokens are bytes (0..255), BOS (256), written "<s>", and EOS (257), "</s>". Its "model" is a hash: the probability of the next
 * token depends on every token before it and on `seed`, so generate() and score() agree with each other as in
 * a real model, and one bit of difference in a prompt shows.
 *
 * A model is a file that begins with such parameters, a line `key = value` each; those of the job come after.
 * A model that is quantised to "Q8", "Q4" or "Q2" is its original with a line `noise = N` before it: logits are then moved by
 * up to N thousandths, so that answers change and distributions part. "odd" has a tensor that falls back.
 * One that is trained is its original with a line `trained = N` before it, N a hash of the texts: another model. Its loss falls
 * from 4 to 1, a step of `n_ctx` bytes (0: 64) after the other. `token_us`, `fault` and `fault_at`, as a step, of the file are honoured.
 * Prefix hints are believed, and held against the prompts: one that is not true fails its request.
 *
 * Parameters (all optional)
 *   n_ctx = 4096            tokens that fit
 *   seed = 1                another seed is another model
 *   text = ""               generate() answers this text, then EOS, instead of asking the "model"
 *   load_us, prefill_us, token_us = 0   sleeps: per open, per prompt token, per new token
 *   batch = 1               requests of one generate() that run together, a token of each at a time
 *   score = true            offer eb.score/1
 *   tokenizer = true        offer a tokenizer
 *   adapters = true         offer eb.lora/1. An adapter is a file that begins with "mock-lora"; what follows makes another model
 *   noise = 0               how far logits are moved, in thousandths
 *   trained = 0             what was learned: another number is another model
 *   n_weights, weights_bytes, kv_bytes, compute_bytes = 0   what info() tells of them
 *   devices = 1             how many probe() counts and eb.device/1 describes, once opened
 *   device_memory = 1048576 bytes of each, half of them free
 *   power = ""              rails of eb.power/1 with their watts: "NPU:2.5,DDR:0.5"
 *   power_ramp_mw = 0       by which each rail rises per second after open()
 *   power_block_us = 0      how long reading a rail takes
 *   chat_template = ""      what info() tells
 *   fault = ""              one of faults[] below
 *   fault_at = 2            in which call of generate/score, from 1
 */
#define _POSIX_C_SOURCE 200809L
#include "edgebench.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BOS = 256, EOS = 257, N_VOCAB = 258, MAX_BATCH = 64 };

/* How to misbehave. */
enum {
    FAULT_NONE,
    FAULT_SEGV_OPEN,
    FAULT_SEGV,           /* in generate() or score() */
    FAULT_SEGV_CLOSE,
    FAULT_ABORT,          /* abort() */
    FAULT_EXIT,           /* exit(0) */
    FAULT_LOOP,           /* for ever, until abort() */
    FAULT_IGNORE_ABORT,   /* for ever */
    FAULT_ALLOC,          /* 2 GiB, touched */
    FAULT_ENDLESS,        /* tokens without end, whatever the sink says */
    FAULT_BAD_UTF8,       /* no fault of the contract: must come out as U+FFFD */
    FAULT_TOKEN_AFTER_DONE,
    FAULT_NO_DONE,
    FAULT_TWO_DONES,
    FAULT_WRONG_ID,
    FAULT_FOREIGN_THREAD,
    FAULT_ERROR_OVERRUN,  /* an error message of 100 kB */
    FAULT_CLOSE_FDS,
    FAULT_SPAM,           /* 10 MB to stdout; no fault of the contract */
    FAULT_ERROR,          /* an honest EB_ERR_DEVICE */
    FAULT_NO_PREFILL,
    FAULT_SLEEP           /* 2 s, then on */
};

static const char *const faults[] = {
    "", "segv-open", "segv", "segv-close", "abort", "exit", "loop", "ignore-abort", "alloc", "endless", "bad-utf8",
    "token-after-done", "no-done", "two-dones", "wrong-id", "foreign-thread", "error-overrun", "close-fds", "spam",
    "error", "no-prefill", "sleep"};

struct eb_session {
    uint64_t n_ctx, seed, own_seed, load_us, prefill_us, token_us, fault_at, calls;
    uint64_t n_weights, weights_bytes, kv_bytes, compute_bytes;
    uint64_t batch, noise, trained;
    uint64_t prefix_id, prefix_state, prefix_len; /* what is kept: its hash and its tokens */
    int score, tokenizer, fault;
    int adapters;
    char text[256], chat_template[2048];
    volatile sig_atomic_t aborted;
};

/* The parameters of the last open() decide what get_extension() offers. */
static int offer_score = 1;
static int offer_lora = 1;

/* Of probe() and eb.device/1. */
static uint64_t n_devices = 1, device_memory = 1 << 20;

/* Rails of eb.power/1: as told by `power`, from then on growing by power_ramp_mw each second. */
#define MAX_RAILS 4
static struct rail {
    char name[16];
    double watts;
} rails[MAX_RAILS];
static uint64_t power_ramp_mw, power_block_us;
static struct timespec power_start;
static eb_power_v1 power_v1;

static eb_str str(const char *z) {
    eb_str s;
    s.ptr = z;
    s.len = strlen(z);
    return s;
}

/* ---------------------------------------------------------------- parameters */

static int number(eb_str s, uint64_t *out) {
    uint64_t value = 0;
    size_t i;
    if (s.len == 0 || s.len > 18) return 0;
    for (i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return 0;
        value = value * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *out = value;
    return 1;
}

static int boolean(eb_str s, int *out) {
    *out = eb_str_eq(s, "true");
    return *out || eb_str_eq(s, "false");
}

static int fault_number(eb_str s, int *out) {
    size_t i;
    for (i = 0; i < sizeof faults / sizeof *faults; i++)
        if (eb_str_eq(s, faults[i])) {
            *out = (int)i;
            return 1;
        }
    return 0;
}

static int copy_text(eb_str s, char *out, size_t size) {
    if (s.len >= size) return 0;
    if (s.len) memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return 1;
}

/* "NPU:2.5,DDR:0.5" */
static int set_rails(eb_str s) {
    char text[128], *entry;
    if (!copy_text(s, text, sizeof text)) return 0;
    power_v1.n_rails = 0;
    clock_gettime(CLOCK_MONOTONIC, &power_start);
    for (entry = strtok(text, ","); entry; entry = strtok(NULL, ",")) {
        char *colon = strchr(entry, ':'), *end;
        struct rail *rail = &rails[power_v1.n_rails];
        if (!colon || colon == entry || power_v1.n_rails == MAX_RAILS || colon - entry >= (long)sizeof rail->name)
            return 0;
        *colon = '\0';
        strcpy(rail->name, entry);
        rail->watts = strtod(colon + 1, &end);
        if (end == colon + 1 || *end) return 0;
        power_v1.n_rails++;
    }
    return power_v1.n_rails > 0;
}

/* 1: taken, 0: bad value, -1: unknown key */
static int set_param(eb_session *m, eb_str key, eb_str value) {
    if (eb_str_eq(key, "n_ctx")) return number(value, &m->n_ctx) && m->n_ctx > 1;
    if (eb_str_eq(key, "seed")) return number(value, &m->seed);
    if (eb_str_eq(key, "load_us")) return number(value, &m->load_us);
    if (eb_str_eq(key, "prefill_us")) return number(value, &m->prefill_us);
    if (eb_str_eq(key, "token_us")) return number(value, &m->token_us);
    if (eb_str_eq(key, "batch")) return number(value, &m->batch) && m->batch >= 1 && m->batch <= MAX_BATCH;
    if (eb_str_eq(key, "noise")) return number(value, &m->noise);
    if (eb_str_eq(key, "trained")) return number(value, &m->trained);
    if (eb_str_eq(key, "fault_at")) return number(value, &m->fault_at);
    if (eb_str_eq(key, "score")) return boolean(value, &m->score);
    if (eb_str_eq(key, "tokenizer")) return boolean(value, &m->tokenizer);
    if (eb_str_eq(key, "adapters")) return boolean(value, &m->adapters);
    if (eb_str_eq(key, "fault")) return fault_number(value, &m->fault);
    if (eb_str_eq(key, "n_weights")) return number(value, &m->n_weights);
    if (eb_str_eq(key, "weights_bytes")) return number(value, &m->weights_bytes);
    if (eb_str_eq(key, "kv_bytes")) return number(value, &m->kv_bytes);
    if (eb_str_eq(key, "compute_bytes")) return number(value, &m->compute_bytes);
    if (eb_str_eq(key, "devices")) return number(value, &n_devices) && n_devices <= 16;
    if (eb_str_eq(key, "device_memory")) return number(value, &device_memory);
    if (eb_str_eq(key, "power")) return set_rails(value);
    if (eb_str_eq(key, "power_ramp_mw")) return number(value, &power_ramp_mw);
    if (eb_str_eq(key, "power_block_us")) return number(value, &power_block_us);
    if (eb_str_eq(key, "text")) return copy_text(value, m->text, sizeof m->text);
    if (eb_str_eq(key, "chat_template")) return copy_text(value, m->chat_template, sizeof m->chat_template);
    return -1;
}

/* ---------------------------------------------------------------- the "model" */

static uint64_t mix(uint64_t h, uint64_t v) {
    h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

/* Letters, space and newline are likely, all else is not. */
static double noise; /* of the session that is open */

static double logit(uint64_t state, int32_t token) {
    int likely = (token >= 'a' && token <= 'z') || token == ' ' || token == '\n' || token == EOS ||
                 (token >= 'A' && token <= 'D');
    uint64_t h = mix(state, (uint64_t)token * 2654435761u);
    double moved = noise == 0 ? 0 : noise * ((double)(mix(h, 7) >> 40) / (double)(1 << 24) - 0.5);
    return (double)(h >> 40) / (double)(1 << 24) * 8.0 + moved - (likely ? 0.0 : 12.0);
}

/* Natural logarithm of p(token | state), and the most likely token. */
static double logprob(uint64_t state, int32_t token, int32_t *best) {
    double sum = 0, top = -1e9;
    int32_t t;
    for (t = 0; t < N_VOCAB; t++) {
        double l = logit(state, t);
        sum += exp(l);
        if (l > top && t != BOS) {
            top = l;
            *best = t;
        }
    }
    return logit(state, token) - log(sum);
}

static void pause_us(uint64_t us) {
    struct timespec t;
    if (us == 0) return;
    t.tv_sec = (time_t)(us / 1000000);
    t.tv_nsec = (long)(us % 1000000) * 1000;
    while (nanosleep(&t, &t) != 0) {
    }
}

/* ---------------------------------------------------------------- events */

static eb_event event(int32_t kind, uint64_t id) {
    eb_event e;
    memset(&e, 0, sizeof e);
    e.struct_size = sizeof e;
    e.kind = kind;
    e.request_id = id;
    return e;
}

static int32_t send_token(const eb_sink *sink, uint64_t id, int32_t token, const char *text, size_t len) {
    eb_event e = event(EB_EVENT_TOKEN, id);
    e.token = token;
    e.text.ptr = text;
    e.text.len = len;
    return sink->event(sink->user, &e);
}

static void send_prefill(const eb_sink *sink, uint64_t id, size_t n, size_t cached) {
    eb_event e = event(EB_EVENT_PREFILL, id);
    e.cached_tokens = (uint32_t)cached;
    e.prompt_tokens = (uint32_t)n;
    sink->event(sink->user, &e);
}

static void send_done(const eb_sink *sink, uint64_t id, int32_t finish, eb_status status, const char *why) {
    eb_event e = event(EB_EVENT_DONE, id);
    e.finish = finish;
    e.status = status;
    if (why) e.text = str(why);
    sink->event(sink->user, &e);
}

/* ---------------------------------------------------------------- faults */

/* A real one: a runtime's handler may return from a raised signal, but not from this. */
static void segv(void) {
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
}

struct foreign {
    const eb_sink *sink;
    uint64_t id;
};

static void *foreign_thread(void *argument) {
    struct foreign *f = argument;
    send_token(f->sink, f->id, 'x', "x", 1);
    return NULL;
}

/* The call is over, although nothing is said to be wrong. */
#define OVER ((eb_status)-1)

/* Misbehaves as asked, before the first event of a call. EB_OK: go on; else the call is over. */
static eb_status misbehave(eb_session *m, const eb_sink *sink, uint64_t id, eb_error *error) {
    if (++m->calls != m->fault_at) return EB_OK;
    switch (m->fault) {
    case FAULT_SEGV: segv(); break;
    case FAULT_ABORT: abort();
    case FAULT_EXIT: exit(0);
    case FAULT_LOOP:
        while (!m->aborted) pause_us(1000);
        return eb_fail(error, EB_ERR_ABORTED, "aborted");
    case FAULT_IGNORE_ABORT:
        for (;;) pause_us(100000);
    case FAULT_ALLOC: {
        size_t size = (size_t)2 << 30, i;
        volatile char *p = malloc(size);
        if (!p) return eb_fail(error, EB_ERR_OUT_OF_MEMORY, "needs 2 GiB: give it more memory");
        for (i = 0; i < size; i += 4096) p[i] = 1;
        free((void *)p);
        break;
    }
    case FAULT_ENDLESS:
        send_prefill(sink, id, 1, 0);
        for (;;) send_token(sink, id, 'x', "x", 1);
    case FAULT_TOKEN_AFTER_DONE:
        send_prefill(sink, id, 1, 0);
        send_done(sink, id, EB_FINISH_EOS, EB_OK, NULL);
        send_token(sink, id, 'x', "x", 1);
        return OVER;
    case FAULT_NO_DONE: send_prefill(sink, id, 1, 0); return OVER;
    case FAULT_TWO_DONES:
        send_prefill(sink, id, 1, 0);
        send_done(sink, id, EB_FINISH_EOS, EB_OK, NULL);
        send_done(sink, id, EB_FINISH_EOS, EB_OK, NULL);
        return OVER;
    case FAULT_WRONG_ID: send_prefill(sink, id + 1000, 1, 0); break;
    case FAULT_NO_PREFILL: send_done(sink, id, EB_FINISH_EOS, EB_OK, NULL); return OVER;
    case FAULT_FOREIGN_THREAD: {
        struct foreign f;
        pthread_t thread;
        f.sink = sink;
        f.id = id;
        send_prefill(sink, id, 1, 0);
        if (pthread_create(&thread, NULL, foreign_thread, &f) == 0) pthread_join(thread, NULL);
        send_done(sink, id, EB_FINISH_EOS, EB_OK, NULL);
        return OVER;
    }
    case FAULT_ERROR_OVERRUN:
        error->code = EB_ERR_DEVICE;
        memset((char *)error + offsetof(eb_error, message), 'x', 100000);
        return EB_ERR_DEVICE;
    case FAULT_CLOSE_FDS: {
        int fd;
        for (fd = 0; fd < 256; fd++) close(fd);
        break;
    }
    case FAULT_SPAM: {
        int i;
        for (i = 0; i < 100000; i++) printf("%099d\n", i);
        fflush(stdout);
        break;
    }
    case FAULT_ERROR: return eb_fail(error, EB_ERR_DEVICE, "the device is on fire: call the fire brigade");
    case FAULT_SLEEP: pause_us(2000000); break;
    default: break;
    }
    return EB_OK;
}

/* ---------------------------------------------------------------- the table's functions */

static eb_status mock_probe(eb_probe *out, eb_error *error) {
    (void)error;
    out->device_count = (uint32_t)n_devices;
    out->runtime = str("mock 1");
    out->device = str("no device");
    return EB_OK;
}

/* Takes the parameters of a model file; the first that is none, or 0. */
static const char *read_model(eb_session *m, eb_str path, char *line, size_t size) {
    char name[4096];
    FILE *file;
    if (path.len == 0 || path.len >= sizeof name) return NULL;
    memcpy(name, path.ptr, path.len);
    name[path.len] = 0;
    file = fopen(name, "r");
    if (!file) return "the model cannot be opened";
    while (fgets(line, (int)size, file)) {
        char *value = strstr(line, " = ");
        line[strcspn(line, "\n")] = 0;
        if (!value) break;
        if (set_param(m, (eb_str){line, (size_t)(value - line)}, str(value + 3)) != 1) {
            fclose(file);
            return line;
        }
    }
    fclose(file);
    return NULL;
}

static eb_status mock_open(const eb_open_params *p, eb_session **out, eb_error *error) {
    eb_session *m = calloc(1, sizeof *m);
    char line[1024];
    const char *wrong;
    uint32_t i;
    *out = NULL;
    if (!m) return eb_fail(error, EB_ERR_OUT_OF_MEMORY, "no memory for a session");
    m->n_ctx = 4096;
    m->seed = 1;
    m->batch = 1;
    m->fault_at = 2;
    m->score = m->tokenizer = m->adapters = 1;
    power_v1.n_rails = 0;
    power_ramp_mw = power_block_us = 0;
    wrong = read_model(m, p->model, line, sizeof line);
    if (wrong) {
        free(m);
        return eb_fail(error, EB_ERR_MODEL, wrong);
    }
    for (i = 0; i < p->n_params; i++) {
        int taken = set_param(m, p->params[i].key, p->params[i].value);
        if (taken != 1) {
            char message[EB_ERROR_MESSAGE_SIZE];
            eb_str shown = taken < 0 ? p->params[i].key : p->params[i].value;
            snprintf(message, sizeof message, "%s `%.*s`; mock.c lists the parameters",
                     taken < 0 ? "unknown parameter" : "bad value", (int)(shown.len > 64 ? 64 : shown.len), shown.ptr);
            free(m);
            return eb_fail(error, EB_ERR_INVALID, message);
        }
    }
    if (m->fault == FAULT_SEGV_OPEN) segv();
    pause_us(m->load_us);
    p->log(p->log_user, EB_LOG_INFO, str("mock: opened"));
    offer_score = m->score;
    offer_lora = m->adapters;
    if (m->trained) m->seed = mix(m->seed, m->trained);
    m->own_seed = m->seed;
    noise = (double)m->noise * 1e-3;
    *out = m;
    return EB_OK;
}

static void mock_close(eb_session *m) {
    if (m && m->fault == FAULT_SEGV_CLOSE) segv();
    free(m);
}

static eb_status mock_info(eb_session *m, eb_info *out, eb_error *error) {
    (void)error;
    out->n_ctx = out->n_ctx_train = (uint32_t)m->n_ctx;
    out->n_vocab = N_VOCAB;
    out->flags = m->tokenizer ? EB_INFO_TOKENIZER : 0;
    out->flags |= EB_INFO_PREFIX | (m->batch > 1 ? EB_INFO_BATCH : 0);
    out->n_weights = m->n_weights;
    out->weights_bytes = m->weights_bytes;
    out->kv_bytes = m->kv_bytes;
    out->compute_bytes = m->compute_bytes;
    out->bos_token = BOS;
    out->eos_token = EOS;
    out->architecture = str("hash");
    out->quantization = str("none");
    out->description = str("mock");
    out->chat_template = str(m->chat_template);
    if (EB_HAS(out, eb_info, eos_text)) {
        out->bos_text = str("<s>");
        out->eos_text = str("</s>");
    }
    return EB_OK;
}

/* How many tokens `text` has; as many as fit go to `tokens`. */
static size_t tokenize(eb_str text, uint64_t flags, int32_t *tokens, size_t capacity) {
    size_t n = 0, i = 0;
    if (flags & EB_TOKENIZE_ADD_SPECIAL) {
        if (n < capacity) tokens[n] = BOS;
        n++;
    }
    while (i < text.len) {
        int32_t token = (unsigned char)text.ptr[i];
        size_t used = 1;
        if (flags & EB_TOKENIZE_PARSE_SPECIAL) {
            if (text.len - i >= 3 && memcmp(text.ptr + i, "<s>", 3) == 0) token = BOS, used = 3;
            if (text.len - i >= 4 && memcmp(text.ptr + i, "</s>", 4) == 0) token = EOS, used = 4;
        }
        if (n < capacity) tokens[n] = token;
        n++;
        i += used;
    }
    return n;
}

static eb_status mock_tokenize(eb_session *m, eb_str text, uint64_t flags, int32_t *tokens, size_t capacity,
                               size_t *n_tokens, eb_error *error) {
    if (!m->tokenizer) return eb_fail(error, EB_ERR_UNSUPPORTED, "this session has no tokenizer");
    *n_tokens = tokenize(text, flags, tokens, capacity);
    return *n_tokens <= capacity ? EB_OK : eb_fail(error, EB_ERR_BUFFER, "more tokens than the buffer holds");
}

static eb_status mock_detokenize(eb_session *m, const int32_t *tokens, size_t n, char *text, size_t capacity,
                                 size_t *length, eb_error *error) {
    size_t i;
    (void)m;
    *length = 0;
    for (i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= N_VOCAB) return eb_fail(error, EB_ERR_INVALID, "no such token");
        if (tokens[i] >= BOS) continue;
        if (*length < capacity) text[*length] = (char)tokens[i];
        ++*length;
    }
    return *length <= capacity ? EB_OK : eb_fail(error, EB_ERR_BUFFER, "more text than the buffer holds");
}

/* Does the text so far end with one of the stop strings? */
static int stopped(const eb_request *r, const char *text, size_t len) {
    size_t i;
    for (i = 0; i < r->n_stop; i++)
        if (r->stop[i].len && r->stop[i].len <= len &&
            memcmp(text + len - r->stop[i].len, r->stop[i].ptr, r->stop[i].len) == 0)
            return 1;
    return 0;
}

/* Tokens of a prompt that need not be evaluated, as its first `len` are those of the last prompt with the same prefix
 * id; -1: they are not. */
static long kept(eb_session *m, uint64_t prefix_id, size_t len, const int32_t *tokens, size_t n) {
    uint64_t hash = m->seed;
    size_t i;
    if (prefix_id && len > n) return -1;
    for (i = 0; prefix_id && i < len; i++) hash = mix(hash, (uint64_t)tokens[i]);
    if (prefix_id && prefix_id == m->prefix_id) return len == m->prefix_len && hash == m->prefix_state ? (long)len : -1;
    m->prefix_id = prefix_id;
    m->prefix_len = len;
    m->prefix_state = hash;
    return 0;
}

/* A request that runs. */
struct running {
    const eb_request *r;
    uint64_t state;
    size_t n;       /* tokens of the prompt */
    char tail[256]; /* the last bytes of the output */
    size_t in_tail;
    uint32_t made;
};

/* Evaluates a prompt; 0: it could not be, and is done. */
static int begin(eb_session *m, const eb_request *r, struct running *run, const eb_sink *sink) {
    uint64_t state = m->seed;
    uint64_t flags = EB_TOKENIZE_ADD_SPECIAL | (r->flags & EB_REQUEST_PARSE_SPECIAL ? EB_TOKENIZE_PARSE_SPECIAL : 0);
    size_t n = r->n_tokens ? r->n_tokens : tokenize(r->text, flags, NULL, 0), prefix = r->prefix_len, i;
    int32_t *own = NULL;
    long cached;
    memset(run, 0, sizeof *run);
    if (n + 1 > m->n_ctx) {
        send_done(sink, r->id, EB_FINISH_ERROR, EB_ERR_CONTEXT_FULL, "the prompt does not fit n_ctx: raise it");
        return 0;
    }
    if (!r->n_tokens) {
        eb_str start = r->text;
        own = malloc(n * sizeof *own);
        if (!own) {
            send_done(sink, r->id, EB_FINISH_ERROR, EB_ERR_OUT_OF_MEMORY, "no memory for the prompt");
            return 0;
        }
        tokenize(r->text, flags, own, n);
        if (prefix < start.len) start.len = prefix;
        prefix = tokenize(start, flags, NULL, 0);
    }
    cached = kept(m, r->prefix_id, prefix, r->n_tokens ? r->tokens : own, n);
    run->r = r;
    run->n = n;
    for (i = 0; i < n; i++) state = mix(state, (uint64_t)(r->n_tokens ? r->tokens : own)[i]);
    run->state = state;
    free(own);
    if (cached < 0) {
        send_done(sink, r->id, EB_FINISH_ERROR, EB_ERR_INVALID, "its prefix hint is not true: a bug of the host");
        return 0;
    }
    for (i = (size_t)cached; i < n && m->prefill_us && !m->aborted; i++) pause_us(m->prefill_us);
    send_prefill(sink, r->id, n, (size_t)cached);
    return 1;
}

/* One more token; 0: the request is done. */
static int step(eb_session *m, struct running *run, const eb_sink *sink, int bad_utf8) {
    const eb_request *r = run->r;
    int32_t token = EOS;
    char byte;
    if (m->aborted) {
        send_done(sink, r->id, EB_FINISH_ABORTED, EB_ERR_ABORTED, "aborted");
        return 0;
    }
    if (m->text[0]) {
        size_t at = run->made % (strlen(m->text) + 1);
        token = m->text[at] ? (unsigned char)m->text[at] : EOS;
    } else {
        logprob(run->state, 0, &token);
    }
    if (bad_utf8) token = 0xff;
    if (token == EOS && !(r->flags & EB_REQUEST_IGNORE_EOS)) {
        send_done(sink, r->id, EB_FINISH_EOS, EB_OK, NULL);
        return 0;
    }
    run->state = mix(run->state, (uint64_t)token);
    byte = (char)token;
    if (run->in_tail == sizeof run->tail) memmove(run->tail, run->tail + 1, --run->in_tail);
    run->tail[run->in_tail++] = byte;
    run->made++;
    if (send_token(sink, r->id, token, &byte, token < BOS ? 1 : 0)) {
        send_done(sink, r->id, EB_FINISH_SINK, EB_OK, NULL);
        return 0;
    }
    if (stopped(r, run->tail, run->in_tail)) {
        send_done(sink, r->id, EB_FINISH_STOP, EB_OK, NULL);
        return 0;
    }
    if (run->made == r->max_new || run->n + run->made >= m->n_ctx) {
        send_done(sink, r->id, EB_FINISH_LENGTH, EB_OK, NULL);
        return 0;
    }
    return 1;
}

static eb_status mock_generate(eb_session *m, const eb_request *const *requests, size_t n, const eb_sink *sink,
                               eb_error *error) {
    static struct running all[MAX_BATCH];
    size_t next = 0, running = 0;
    size_t i;
    eb_status status;
    m->aborted = 0;
    status = misbehave(m, sink, requests[0]->id, error);
    if (status != EB_OK) return status == OVER ? EB_OK : status;
    while (next < n || running) {
        /* Whoever is done makes room for the next. */
        while (running < m->batch && next < n) running += (size_t)begin(m, requests[next++], &all[running], sink);
        if (running) pause_us(m->token_us);
        for (i = 0; i < running;) {
            if (step(m, &all[i], sink, m->fault == FAULT_BAD_UTF8 && m->calls >= m->fault_at)) i++;
            else all[i] = all[--running];
        }
    }
    return m->aborted ? eb_fail(error, EB_ERR_ABORTED, "aborted") : EB_OK;
}

static eb_status mock_score(eb_session *m, const eb_score_request *const *requests, size_t n, const eb_sink *sink,
                            eb_error *error) {
    size_t r, i;
    uint32_t c;
    eb_status status;
    m->aborted = 0;
    status = misbehave(m, sink, requests[0]->id, error);
    if (status != EB_OK) return status == OVER ? EB_OK : status;
    for (r = 0; r < n; r++) {
        const eb_score_request *q = requests[r];
        uint64_t context = m->seed;
        long cached;
        size_t longest = 0;
        for (c = 0; c < q->n_continuations; c++)
            if (q->n_tokens[c] > longest) longest = q->n_tokens[c];
        if (q->n_context + longest - 1 > m->n_ctx) { /* the last token is predicted, but never evaluated */
            send_done(sink, q->id, EB_FINISH_ERROR, EB_ERR_CONTEXT_FULL, "the context does not fit n_ctx: raise it");
            continue;
        }
        cached = kept(m, q->prefix_id, q->prefix_len, q->context, q->n_context);
        if (cached < 0) {
            send_done(sink, q->id, EB_FINISH_ERROR, EB_ERR_INVALID, "its prefix hint is not true: a bug of the host");
            continue;
        }
        for (i = 0; i < q->n_context; i++) context = mix(context, (uint64_t)q->context[i]);
        for (i = (size_t)cached; i < q->n_context && m->prefill_us && !m->aborted; i++) pause_us(m->prefill_us);
        if (m->aborted) {
            send_done(sink, q->id, EB_FINISH_ABORTED, EB_ERR_ABORTED, "aborted");
            continue;
        }
        send_prefill(sink, q->id, q->n_context, (size_t)cached);
        for (c = 0; c < q->n_continuations; c++) {
            eb_event e = event(EB_EVENT_SCORE, q->id);
            uint64_t state = context;
            e.index = c;
            e.is_greedy = 1;
            e.n_tokens = (uint32_t)q->n_tokens[c];
            for (i = 0; i < q->n_tokens[c]; i++) {
                int32_t best = EOS, token = q->continuations[c][i];
                e.logprob += logprob(state, token, &best);
                e.is_greedy &= best == token;
                state = mix(state, (uint64_t)token);
            }
            sink->event(sink->user, &e);
        }
        send_done(sink, q->id, EB_FINISH_SCORED, EB_OK, NULL);
    }
    return m->aborted ? eb_fail(error, EB_ERR_ABORTED, "aborted") : EB_OK;
}

static eb_status mock_reset(eb_session *m, eb_error *error) {
    m->prefix_id = 0;
    (void)error;
    return EB_OK;
}

static void mock_abort(eb_session *m) { m->aborted = 1; }

static const eb_score_v1 score_v1 = {sizeof(eb_score_v1), 0, mock_score};

/* A number that stands for an adapter's file; 0: it is none. */
static uint64_t adapter_hash(eb_str path) {
    static const char magic[] = "mock-lora";
    char name[4096];
    uint64_t hash = 1;
    size_t n = 0;
    FILE *file;
    int c;
    if (!copy_text(path, name, sizeof name) || !(file = fopen(name, "rb"))) return 0;
    for (; (c = getc(file)) != EOF; n++) {
        if (n < sizeof magic - 1 && c != magic[n]) break;
        hash = mix(hash, (uint64_t)c);
    }
    fclose(file);
    return n < sizeof magic - 1 ? 0 : hash;
}

static eb_status mock_lora_set(eb_session *m, const eb_lora *const *adapters, size_t n, eb_error *error) {
    uint64_t seed = m->own_seed;
    size_t i;
    for (i = 0; i < n; i++) {
        uint64_t hash = adapter_hash(adapters[i]->path), scale = 0;
        if (!isfinite(adapters[i]->scale)) return eb_fail(error, EB_ERR_INVALID, "the scale is not finite");
        if (!hash) return eb_fail(error, EB_ERR_MODEL, "not an adapter: its file begins with mock-lora");
        memcpy(&scale, &adapters[i]->scale, sizeof adapters[i]->scale);
        if (adapters[i]->scale != 0) seed = mix(mix(seed, hash), scale);
    }
    m->seed = seed;
    m->prefix_id = 0;
    return EB_OK;
}

static const eb_lora_v1 lora_v1 = {sizeof(eb_lora_v1), 0, mock_lora_set};
static eb_status mock_evaluate(eb_session *m, const int32_t *tokens, size_t n_tokens, size_t first,
                               int32_t (*row)(void *user, const float *logits, size_t n_vocab), void *user,
                               eb_error *error) {
    float logits[N_VOCAB];
    uint64_t state = m->seed;
    size_t i;
    int32_t t;
    m->aborted = 0;
    m->prefix_id = 0;
    if (n_tokens > m->n_ctx) return eb_fail(error, EB_ERR_CONTEXT_FULL, "the tokens do not fit n_ctx: raise it");
    for (i = 0; i < n_tokens; i++) {
        state = mix(state, (uint64_t)tokens[i]);
        if (m->aborted) return eb_fail(error, EB_ERR_ABORTED, "aborted");
        if (i < first) continue;
        for (t = 0; t < N_VOCAB; t++) logits[t] = (float)logit(state, t);
        if (row(user, logits, N_VOCAB)) break;
    }
    return EB_OK;
}

static const eb_logits_v1 logits_v1 = {sizeof(eb_logits_v1), 0, mock_evaluate};

/* Is s the NUL-terminated string z, in any case? */
static int same_word(eb_str s, const char *z) {
    size_t i;
    for (i = 0; i < s.len; i++)
        if (!z[i] || (s.ptr[i] | 32) != (z[i] | 32)) return 0;
    return !z[s.len];
}

/* The smaller model is the original with more noise. */
static eb_status mock_quantize(const eb_quantize_request *request, eb_quantized *out, eb_error *error) {
    static const struct {
        const char *kind;
        int noise, bits;
    } kinds[] = {{"Q8", 20, 8}, {"Q4", 500, 4}, {"Q2", 6000, 2}, {"odd", 1000, 4}};
    char name[4096], buffer[4096];
    FILE *from, *to;
    size_t i, n;
    for (i = 0; i < sizeof kinds / sizeof *kinds && !same_word(request->kind, kinds[i].kind); i++) {
    }
    if (i == sizeof kinds / sizeof *kinds)
        return eb_fail(error, EB_ERR_INVALID, "no such kind; there is Q8, Q4, Q2, odd");
    if (!copy_text(request->model, name, sizeof name) || !(from = fopen(name, "rb")))
        return eb_fail(error, EB_ERR_MODEL, "the original cannot be opened");
    if (!copy_text(request->out, name, sizeof name) || !(to = fopen(name, "wb"))) {
        fclose(from);
        return eb_fail(error, EB_ERR_INTERNAL, "the file cannot be written");
    }
    fprintf(to, "noise = %d\n", kinds[i].noise);
    fprintf(to, "n_weights = 1000\nweights_bytes = %d\n", 125 * kinds[i].bits);
    while ((n = fread(buffer, 1, sizeof buffer, from)) > 0) fwrite(buffer, 1, n, to);
    fclose(from);
    if (fclose(to) != 0) return eb_fail(error, EB_ERR_INTERNAL, "the file cannot be written: is the disk full?");
    out->n_fallback = same_word(request->kind, "odd");
    out->n_weights = 1000;
    out->weights_bytes = (uint64_t)(125 * kinds[i].bits);
    return EB_OK;
}

static const eb_quantize_v1 quantize_v1 = {sizeof(eb_quantize_v1), 0, mock_quantize};

/* The loss after `step` steps. */
static double loss_after(uint64_t step) { return 1.0 + 3.0 / (1.0 + 0.25 * (double)step); }

/* Tells a step; 1: stop. */
static int32_t tell(const eb_train_request *r, uint32_t is_validation, uint32_t epoch, uint64_t step, uint64_t n_steps,
                    uint64_t tokens) {
    eb_train_step s;
    memset(&s, 0, sizeof s);
    s.struct_size = sizeof s;
    s.is_validation = is_validation;
    s.epoch = epoch;
    s.step = step;
    s.n_steps = n_steps;
    s.tokens = tokens;
    /* Before the step changed anything; what was not learned from is a little harder. */
    s.loss = is_validation ? loss_after(step) + 0.125 : loss_after(step - 1);
    return r->step ? r->step(r->step_user, &s) : 0;
}

/* Writes the trained model. */
static eb_status write_trained(const eb_train_request *r, uint64_t hash, eb_error *error) {
    char name[4096], buffer[4096];
    FILE *from, *to;
    size_t n;
    if (!copy_text(r->out, name, sizeof name) || !(to = fopen(name, "wb")))
        return eb_fail(error, EB_ERR_INTERNAL, "the file cannot be written");
    fprintf(to, "trained = %llu\n", (unsigned long long)(hash >> 16));
    from = copy_text(r->model, name, sizeof name) ? fopen(name, "rb") : NULL;
    while (from && (n = fread(buffer, 1, sizeof buffer, from)) > 0) fwrite(buffer, 1, n, to);
    if (from) fclose(from);
    return fclose(to) == 0 ? EB_OK : eb_fail(error, EB_ERR_INTERNAL, "the file cannot be written: is the disk full?");
}

/* A step of the training; a fault is that of the model's file. */
static eb_status misbehave_at(eb_session *m, uint64_t step, eb_error *error) {
    if (step != m->fault_at) return EB_OK;
    switch (m->fault) {
    case FAULT_SEGV: segv(); break;
    case FAULT_ABORT: abort();
    case FAULT_EXIT: exit(0);
    case FAULT_IGNORE_ABORT:
        for (;;) pause_us(100000);
    case FAULT_SLEEP: pause_us(2000000); break;
    case FAULT_ERROR: return eb_fail(error, EB_ERR_DEVICE, "the device is on fire: call the fire brigade");
    default: break;
    }
    return EB_OK;
}

static eb_status mock_train(const eb_train_request *r, eb_trained *out, eb_error *error) {
    eb_session m;
    char line[1024];
    const char *wrong;
    uint64_t n_ctx = r->n_ctx ? r->n_ctx : 64, bytes = 0, hash = 1, per_epoch, step = 0, i;
    size_t t, b, held = (size_t)((double)r->validation_share * (double)r->n_texts + 0.5);
    uint32_t epoch;
    eb_status status;
    if (r->n_texts == 0 || r->epochs == 0 || !(r->learning_rate > 0) || !isfinite(r->learning_rate) ||
        !(r->validation_share >= 0 && r->validation_share <= 0.9f))
        return eb_fail(error, EB_ERR_INVALID, "texts, epochs and learning_rate are needed, validation_share is 0 to 0.9");
    if (r->validation_share > 0 && held == 0) held = 1;
    if (held >= r->n_texts) held = r->n_texts - 1;
    memset(&m, 0, sizeof m);
    m.n_ctx = 4096;
    m.fault_at = 2;
    wrong = read_model(&m, r->model, line, sizeof line);
    if (wrong) return eb_fail(error, EB_ERR_MODEL, wrong);
    for (t = 0; t < r->n_texts - held; t++)
        for (b = 0; b < r->texts[t].len; b++, bytes++) hash = mix(hash, (unsigned char)r->texts[t].ptr[b]);
    if (bytes == 0) return eb_fail(error, EB_ERR_INVALID, "the texts are empty: there is nothing to learn from");
    per_epoch = (bytes + n_ctx - 1) / n_ctx;
    out->n_ctx = (uint32_t)n_ctx;
    out->n_weights = out->n_trained = 1000;
    out->loss_first = loss_after(0);
    if (held) {
        out->validation_before = loss_after(0) + 0.125;
        if (tell(r, 1, 1, 0, per_epoch * r->epochs, 0)) return eb_fail(error, EB_ERR_ABORTED, "stopped");
    }
    for (epoch = 1; epoch <= r->epochs; epoch++) {
        for (i = 0; i < per_epoch; i++) {
            step++;
            status = misbehave_at(&m, step, error);
            if (status != EB_OK) return status;
            pause_us(m.token_us * n_ctx);
            if (tell(r, 0, epoch, step, per_epoch * r->epochs, step * n_ctx))
                return eb_fail(error, EB_ERR_ABORTED, "stopped");
        }
        if (held && tell(r, 1, epoch, step, per_epoch * r->epochs, step * n_ctx))
            return eb_fail(error, EB_ERR_ABORTED, "stopped");
    }
    out->steps = step;
    out->tokens = step * n_ctx;
    out->loss_last = loss_after(step - 1);
    if (held) out->validation_after = loss_after(step) + 0.125;
    return write_trained(r, hash, error);
}

static const eb_train_v1 train_v1 = {sizeof(eb_train_v1), 0, mock_train};

static eb_status mock_device(uint32_t index, eb_device *out, eb_error *error) {
    if (index >= n_devices) return eb_fail(error, EB_ERR_INVALID, "no such device");
    out->cores = 1;
    out->name = str("mock device");
    out->driver = str("none 1.0");
    out->memory_bytes = device_memory;
    out->memory_free_bytes = device_memory / 2;
    return EB_OK;
}

static const eb_device_v1 device_v1 = {sizeof(eb_device_v1), 0, mock_device};

static eb_str mock_rail_name(uint32_t rail) { return str(rail < power_v1.n_rails ? rails[rail].name : ""); }

static eb_status mock_rail_read(uint32_t rail, double *watts, eb_error *error) {
    struct timespec now;
    double seconds;
    if (rail >= power_v1.n_rails) return eb_fail(error, EB_ERR_INVALID, "no such rail");
    pause_us(power_block_us);
    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = (double)(now.tv_sec - power_start.tv_sec) + (double)(now.tv_nsec - power_start.tv_nsec) * 1e-9;
    *watts = rails[rail].watts + (double)power_ramp_mw * 1e-3 * seconds;
    return EB_OK;
}

static eb_power_v1 power_v1 = {sizeof(eb_power_v1), 0, mock_rail_name, mock_rail_read};

static const void *mock_get_extension(eb_str name) {
    if (power_v1.n_rails && eb_str_eq(name, EB_EXT_POWER)) return &power_v1;
    if (eb_str_eq(name, EB_EXT_DEVICE)) return &device_v1;
    if (offer_score && eb_str_eq(name, EB_EXT_SCORE)) return &score_v1;
    if (offer_lora && eb_str_eq(name, EB_EXT_LORA)) return &lora_v1;
    if (offer_score && eb_str_eq(name, EB_EXT_LOGITS)) return &logits_v1;
    if (eb_str_eq(name, EB_EXT_QUANTIZE)) return &quantize_v1;
    if (eb_str_eq(name, EB_EXT_TRAIN)) return &train_v1;
    return NULL;
}

static const eb_backend table = {
    sizeof(eb_backend), EB_ABI_MINOR,    {"mock", 4},   {"1", 1},   mock_probe, mock_open,
    mock_close,         mock_info,       mock_tokenize, mock_detokenize, mock_generate, mock_reset,
    mock_abort,         mock_get_extension};

EB_EXPORT const eb_backend *eb_backend_v1(uint32_t host_minor) {
    (void)host_minor;
    return &table;
}

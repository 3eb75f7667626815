/*
 * edgebench.h - the C ABI between edgebench and an LLM backend, version 1.
 *
 * A backend ("plugin") is a shared library that exports one function, eb_backend_v1().
 * It returns a table of function pointers. edgebench loads the library in a small child
 * process (the host), one process per test case (those that differ in their adapters only, eb.lora/1,
 * share one), calls the table, and keeps the clock.
 *
 * C99, header-only, no dependency but <stddef.h> and <stdint.h>. Compiles as C++.
 *
 *
 * THE LIFE OF A PLUGIN
 *
 *   eb_backend_v1(host_minor)              once, first; must not start threads or touch a device
 *     probe(&probe, &error)                can this backend run on this machine?
 *     get_extension("eb.score/1")          any time; optional abilities
 *     open(&params, &session, &error)      load one model
 *       info(session, &info, &error)
 *       tokenize / detokenize              where the tokenizer is reachable from the CPU
 *       generate(session, requests, ...)   any number of times; results go to the sink
 *       reset(session, &error)             forget all sequences (KV cache); the model stays
 *       set() of eb.lora/1                 other adapters on the same model
 *     close(session)                       free everything that open() took
 *
 * One session is open at a time. open/close may be repeated in one process.
 *
 *
 * THREADS   [host]  called only on the host's one backend thread, never two at a time.
 *           [any]   may be called from any thread while another function runs. Only abort(), and the
 *                   functions of eb.power/1.
 *           The sink's event() must be called on the thread that called generate() or score(),
 *           before that call returns. A plugin may use as many threads of its own as it likes.
 *
 * OWNERSHIP Inputs (requests, strings, arrays, the sink) are borrowed for the duration of the call:
 *           copy what you keep. Strings that the plugin hands out (probe, info, events) stay its
 *           own: those of probe live until the process ends, those of info until close(), those
 *           of an event until event() returns.
 *
 * STRINGS   eb_str is UTF-8, ptr + len, NOT terminated by a NUL. {NULL, 0} is the empty string.
 *           The text of a TOKEN event may end inside a UTF-8 sequence: the host joins the pieces.
 *
 * SIZES     Every struct starts with struct_size, the size that its writer knew (sizeof of the
 *           struct at the time it was compiled). New fields are only ever appended. Read a field
 *           only if it lies inside struct_size (EB_HAS), write only as much as struct_size says. Whoever fills a
 *           struct of the caller (eb_error, eb_probe, eb_info, eb_device, eb_quantized, eb_trained) leaves its struct_size as it is.
 *           Fixed for ever, and so without struct_size: eb_str and eb_param. Arrays of structs are
 *           passed as arrays of pointers, so that their stride never matters.
 *
 * ENUMS     int32_t, so that a value from a newer version is not undefined behaviour. FLAGS uint64_t.
 *
 * ERRORS    A function that can fail returns an eb_status and fills the caller's eb_error when it
 *           is not EB_OK. Say what is wrong and what to do: the text ends up in front of the user.
 *           Never call exit() or abort(), never throw a C++ exception across this boundary. If you
 *           do, only this test case is lost: it is marked `crashed`.
 *
 * TIME      The host stamps CLOCK_MONOTONIC inside event(), so call it as soon as a token is known
 *           and once per token. Your own timings go into the DONE event as claims.
 */
#ifndef EDGEBENCH_H
#define EDGEBENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EB_ABI_MAJOR 1
#define EB_ABI_MINOR 2 /* 1: bos_text, eos_text of eb_info; 2: scored_by of eb_info, eb.score_text/1, counts in DONE */

#if defined(_WIN32)
#define EB_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define EB_EXPORT __attribute__((visibility("default")))
#else
#define EB_EXPORT
#endif

/* Is `field` inside the struct that p's writer knew? For fields appended after version 1.0. */
#define EB_HAS(p, type, field) \
    ((size_t)(p)->struct_size >= offsetof(type, field) + sizeof((p)->field))

/* ---------------------------------------------------------------- strings, parameters */

/* UTF-8 text, not NUL-terminated. Layout is fixed for ever. */
typedef struct eb_str {
    const char *ptr;
    size_t len; /* bytes */
} eb_str;

/* One `key = value` of the object's `params` in the job file, value as text: "4", "0.7", "true",
 * "auto". Layout is fixed for ever. */
typedef struct eb_param {
    eb_str key;
    eb_str value;
} eb_param;

/* ---------------------------------------------------------------- status, errors */

typedef int32_t eb_status;
enum {
    EB_OK = 0,
    EB_ERR_INVALID = 1,       /* a parameter or request that can never work: unknown key, bad value */
    EB_ERR_UNSUPPORTED = 2,   /* right, but this backend, model or device cannot do it; the test case is `unsupported` */
    EB_ERR_OUT_OF_MEMORY = 3, /* host or device memory; say how much is needed and how much is free */
    EB_ERR_MODEL = 4,         /* the model is missing, malformed or of a kind that is not known */
    EB_ERR_CONTEXT_FULL = 5,  /* n_ctx has no room for the prompt and one token, or for what is to be scored */
    EB_ERR_ABORTED = 6,       /* abort() was called */
    EB_ERR_DEVICE = 7,        /* driver or hardware */
    EB_ERR_BUFFER = 8,        /* the caller's buffer is too small; the needed size has been stored */
    EB_ERR_INTERNAL = 9       /* anything else */
};

#define EB_ERROR_MESSAGE_SIZE 248

/* Owned by the caller, who sets struct_size. The callee fills the rest when it fails. */
typedef struct eb_error {
    uint32_t struct_size;
    eb_status code;       /* same as the returned status */
    int64_t vendor_code;  /* the SDK's own number, 0 if none */
    char message[EB_ERROR_MESSAGE_SIZE]; /* UTF-8, NUL-terminated, cut to fit */
} eb_error;

/* ---------------------------------------------------------------- probe */

/* Filled by probe(). The host sets struct_size. Strings live until the process ends. */
typedef struct eb_probe {
    uint32_t struct_size;
    uint32_t device_count; /* devices that this backend could use here; 0: none, say why in `note` */
    eb_str runtime;        /* the SDK and its version as found on this machine: "llama.cpp b1234" */
    eb_str device;         /* what it would run on: "CPU (AVX2)", "RK3588 NPU, 3 cores" */
    eb_str note;           /* what is missing and how to get it, or empty */
} eb_probe;

/* ---------------------------------------------------------------- open, info */

/* A loaded model with its state. Opaque to the host. */
typedef struct eb_session eb_session;

enum { EB_LOG_ERROR = 1, EB_LOG_WARN = 2, EB_LOG_INFO = 3, EB_LOG_DEBUG = 4 };

/* The model to load. The host sets struct_size. */
typedef struct eb_open_params {
    uint32_t struct_size;
    uint32_t n_params;
    const eb_param *params; /* n_params pairs. Refuse a key that you do not know: EB_ERR_INVALID, name it */
    eb_str model;           /* path of a file or folder as the job gives it, absolute; or empty */
    /* Where to write log lines; never NULL; [any] thread; valid until close() returns. */
    void (*log)(void *log_user, int32_t level, eb_str line);
    void *log_user;
} eb_open_params;

/* eb_info.flags */
#define EB_INFO_TOKENIZER ((uint64_t)1 << 0) /* tokenize() and detokenize() work */
#define EB_INFO_SAMPLING ((uint64_t)1 << 1)  /* temperature, top_p, top_k and seed are honoured; else greedy only */
#define EB_INFO_BATCH ((uint64_t)1 << 2)     /* N requests in one generate() really run together */
#define EB_INFO_PREFIX ((uint64_t)1 << 3)    /* prefix hints are used */

/* What was loaded. The host sets struct_size. Unknown numbers are 0, unknown strings empty. */
typedef struct eb_info {
    uint32_t struct_size;
    uint32_t n_ctx;       /* tokens that one sequence may hold, as opened */
    uint32_t n_ctx_train; /* tokens, as trained */
    uint32_t n_vocab;     /* entries of the vocabulary */
    uint64_t flags;       /* EB_INFO_* */
    uint64_t n_weights;   /* parameters of the model (a 7B has about 7e9) */
    uint64_t weights_bytes; /* bytes of weights, as stored: all are read once per decoded token in a dense model */
    uint64_t kv_bytes;      /* bytes of KV cache for n_ctx tokens */
    uint64_t compute_bytes; /* bytes of scratch buffers */
    int32_t bos_token;      /* -1: none */
    int32_t eos_token;      /* -1: none */
    eb_str architecture;    /* "llama", "qwen2", ... */
    eb_str quantization;    /* "Q4_0", "INT8", ... */
    eb_str description;     /* the model's own name for itself */
    eb_str chat_template;   /* Jinja source, or empty */
    /* since 1.1 */
    eb_str bos_text; /* BOS and EOS as they are written in text, "<s>": chat templates use them; empty: none */
    eb_str eos_text;
    /* since 1.2 */
    eb_str scored_by; /* how eb.score_text/1 finds log-likelihoods in this session: "echo", "top-logprobs"; goes into the
                         results. Empty: it cannot, or is not offered */
} eb_info;

/* tokenize() flags */
#define EB_TOKENIZE_ADD_SPECIAL ((uint64_t)1 << 0)   /* add BOS (and EOS) as the model wants them */
#define EB_TOKENIZE_PARSE_SPECIAL ((uint64_t)1 << 1) /* "<|im_end|>" in the text is a control token */

/* ---------------------------------------------------------------- requests */

/* eb_request.flags */
#define EB_REQUEST_IGNORE_EOS ((uint64_t)1 << 0)    /* go on over end-of-sequence: exactly max_new tokens, if they fit */
#define EB_REQUEST_PARSE_SPECIAL ((uint64_t)1 << 1) /* as EB_TOKENIZE_PARSE_SPECIAL, for `text` */

/* One prompt to be continued. Either text or tokens is set.
 *
 * ROOM: prompt and output together take at most n_ctx tokens. A prompt behind which not one token fits fails with
 * EB_ERR_CONTEXT_FULL and is never cut; one that fits is continued until max_new or n_ctx is reached
 * (EB_FINISH_LENGTH, EB_OK).
 *
 * PREFIX HINT: requests with the same prefix_id != 0 start with the same prefix_len bytes of text (or
 * tokens, when tokens are given). A backend may evaluate that part once and keep it until reset() or
 * another prefix_id, and so whatever else the prompt has in common with the last one of that id; results
 * must not change. prefix_id == 0 forbids any reuse: the whole prompt is to
 * be evaluated, because it is being timed. */
typedef struct eb_request {
    uint32_t struct_size;
    uint32_t max_new;       /* stop after this many new tokens; >= 1 */
    uint64_t id;            /* comes back in each event; unique within the call */
    uint64_t flags;         /* EB_REQUEST_* */
    eb_str text;            /* the prompt; special tokens (BOS) are added as the model wants them */
    const int32_t *tokens;  /* or the prompt in tokens, complete: nothing is added */
    size_t n_tokens;
    const eb_str *stop;     /* n_stop strings: the output ends before the first of them that appears in it.
                               A backend that looks for them at token ends only may leave the rest to the
                               host, which cuts the text again */
    size_t n_stop;
    float temperature;      /* 0: greedy, the default */
    float top_p;            /* 1: off; above 0 */
    int32_t top_k;          /* 0: off */
    uint32_t prefix_len;    /* see PREFIX HINT */
    uint64_t prefix_id;
    uint64_t seed;          /* of the sampler; unused when greedy */
} eb_request;

/* ---------------------------------------------------------------- events */

enum {
    EB_EVENT_PREFILL = 1, /* the prompt has been evaluated; exactly one, first, for each request that got so far */
    EB_EVENT_TOKEN = 2,   /* one new token; generate() only */
    EB_EVENT_SCORE = 3,   /* one continuation's log-likelihood; score() only, in the order of index */
    EB_EVENT_DONE = 4     /* the end of the request; exactly one, last, for each request, also when it failed */
};

enum {
    EB_FINISH_EOS = 1,     /* the model ended its answer */
    EB_FINISH_STOP = 2,    /* a stop string appeared */
    EB_FINISH_LENGTH = 3,  /* max_new or n_ctx reached */
    EB_FINISH_SINK = 4,    /* event() asked to stop */
    EB_FINISH_ABORTED = 5, /* abort() was called; status is EB_ERR_ABORTED */
    EB_FINISH_ERROR = 6,   /* `status` says which, and `text` why; the other requests of the call go on */
    EB_FINISH_SCORED = 7   /* score() is complete */
};

/* The plugin sets struct_size and fills what belongs to the kind; everything else is 0.
 *
 * COUNTS IN DONE (since 1.2), for a backend that learns them at the end only, as from a server: prompt_tokens and
 * cached_tokens instead of those in PREFILL; n_tokens, the tokens that were made, where a TOKEN event may be
 * several; index, how often the request was tried again. 0: nothing to add. Times of a request that was tried
 * again count from its first try. */
typedef struct eb_event {
    uint32_t struct_size;
    int32_t kind;           /* EB_EVENT_* */
    uint64_t request_id;
    uint32_t prompt_tokens; /* PREFILL: length of the prompt (score: of the context), tokens */
    uint32_t cached_tokens; /* PREFILL: of these, not evaluated but taken from a kept prefix */
    int32_t token;          /* TOKEN: its number in the vocabulary, -1 if the device does not tell */
    uint32_t index;         /* SCORE: which continuation, from 0 */
    eb_str text;            /* TOKEN: its bytes. DONE with status != EB_OK: what went wrong */
    double logprob;         /* SCORE: sum over the continuation's tokens, natural logarithm.
                               TOKEN: of that token, or NaN / 0 when not known */
    uint32_t n_tokens;      /* SCORE: tokens of the continuation that were scored */
    int32_t is_greedy;      /* SCORE: 1 if each token of it was the most likely one */
    int32_t finish;         /* DONE: EB_FINISH_* */
    eb_status status;       /* DONE: EB_OK; with EB_FINISH_ABORTED and EB_FINISH_ERROR why there is not more */
    double claim_prefill_ms; /* DONE: the vendor's own timing, kept beside the host's; 0: none */
    double claim_decode_ms;  /* DONE: likewise */
} eb_event;

/* Where results go. Owned by the host; borrowed for the call. */
typedef struct eb_sink {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* Returns 0 to go on, or 1: end this request soon (EB_FINISH_SINK). Cheap: no I/O, lock or allocation. */
    int32_t (*event)(void *user, const eb_event *event);
    void *user;
} eb_sink;

/* ---------------------------------------------------------------- the table */

typedef struct eb_backend {
    uint32_t struct_size;
    uint32_t abi_minor; /* EB_ABI_MINOR that the plugin was compiled with */
    eb_str name;        /* "llama", "rkllm", ...: lower case, no spaces */
    eb_str version;     /* of the plugin */

    /* [host] Can it run here? Loads no model; may be called again after open(). EB_OK with device_count 0 means: no, and note says why. */
    eb_status (*probe)(eb_probe *out, eb_error *error);

    /* [host] Loads params->model. On success *out is a session, on failure it is NULL and nothing is
     * kept. EB_ERR_INVALID for a parameter that is not known, EB_ERR_MODEL for a broken model,
     * EB_ERR_OUT_OF_MEMORY with needed and free memory in the message. */
    eb_status (*open)(const eb_open_params *params, eb_session **out, eb_error *error);

    /* [host] Frees the session. NULL is allowed and does nothing. */
    void (*close)(eb_session *session);

    /* [host] */
    eb_status (*info)(eb_session *session, eb_info *out, eb_error *error);

    /* [host] Text to tokens. Stores at most `capacity` of them and always the full count in *n_tokens;
     * EB_ERR_BUFFER when that is more than capacity (tokens may be NULL when capacity is 0).
     * EB_ERR_UNSUPPORTED when the tokenizer sits on the device. flags: EB_TOKENIZE_*. */
    eb_status (*tokenize)(eb_session *session, eb_str text, uint64_t flags, int32_t *tokens,
                          size_t capacity, size_t *n_tokens, eb_error *error);

    /* [host] Tokens to text, control tokens as nothing; the same rules for capacity and *length (bytes). */
    eb_status (*detokenize)(eb_session *session, const int32_t *tokens, size_t n_tokens, char *text,
                            size_t capacity, size_t *length, eb_error *error);

    /* [host] Continues n >= 1 prompts, each from an empty sequence. Per request: PREFILL, TOKEN ..., DONE.
     * Returns when all are done. EB_OK although single requests failed (their DONE says so);
     * EB_ERR_ABORTED after abort() (DONE events still come first); anything else: the call as a whole
     * failed, and requests without a DONE count as failed with it.
     * The end-of-sequence token is no TOKEN event. A stop string's own text may or may not be sent.
     * Each request gives what it would give alone. Where the size of a batch changes rounding, a close decision
     * may fall otherwise: allowed, but first tokens and scores that differ by more than rounding are a fault. */
    eb_status (*generate)(eb_session *session, const eb_request *const *requests, size_t n,
                          const eb_sink *sink, eb_error *error);

    /* [host] Forgets every sequence and kept prefix. */
    eb_status (*reset)(eb_session *session, eb_error *error);

    /* [any] Makes the generate() or score() that is running now return soon (aim for 100 ms, prefill
     * included). Without a running call it does nothing: each call clears an older request on entry. */
    void (*abort)(eb_session *session);

    /* [host] A table of the extension called `name`, or NULL. It lives until the process ends. */
    const void *(*get_extension)(eb_str name);
} eb_backend;

/* The one symbol of a plugin. host_minor is the EB_ABI_MINOR that the host knows; a plugin that needs
 * more returns NULL. The table lives until the process ends. */
EB_EXPORT const eb_backend *eb_backend_v1(uint32_t host_minor);
typedef const eb_backend *(*eb_backend_v1_fn)(uint32_t host_minor);

/* ---------------------------------------------------------------- extension eb.score/1 */

#define EB_EXT_SCORE "eb.score/1"

/* A context and the continuations whose log-likelihoods given that context are wanted. In tokens: the
 * host has tokenised context + continuation together and cut at the context's end, so that no backend
 * has to know how. The context holds at least one token (BOS when the text is empty), each
 * continuation too. Prefix hint as in eb_request, in tokens of the context. */
typedef struct eb_score_request {
    uint32_t struct_size;
    uint32_t n_continuations;
    uint64_t id;
    const int32_t *context;
    size_t n_context;
    const int32_t *const *continuations; /* n_continuations arrays */
    const size_t *n_tokens;              /* and their lengths */
    uint32_t prefix_len;
    uint32_t reserved; /* 0 */
    uint64_t prefix_id;
} eb_score_request;

/* A backend that can see the logits offers this; then multiple-choice tasks are scored by log-likelihood. */
typedef struct eb_score_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] Per request: PREFILL, one SCORE per continuation, DONE (EB_FINISH_SCORED). logprob is
     * sum over i of ln p(continuation[i] | context, continuation[0..i-1]). The context may be evaluated
     * once for all its continuations; the result must not depend on how they are grouped.
     * A context that does not fit n_ctx together with its longest continuation, whose last token is only
     * predicted and takes no room, fails by itself: DONE with EB_FINISH_ERROR and EB_ERR_CONTEXT_FULL, no SCORE.
     * Returns as generate() does. */
    eb_status (*score)(eb_session *session, const eb_score_request *const *requests, size_t n,
                       const eb_sink *sink, eb_error *error);
} eb_score_v1;

/* ---------------------------------------------------------------- extension eb.score_text/1 */

#define EB_EXT_SCORE_TEXT "eb.score_text/1"

/* As eb_score_request, but in text: for a backend whose tokenizer the host cannot reach. The backend sees to it that
 * the continuations share one context in tokens: white space at the context's end goes to the continuations, and
 * so does a token that reaches over its end. */
typedef struct eb_score_text_request {
    uint32_t struct_size;
    uint32_t n_continuations;
    uint64_t id;
    uint64_t flags; /* EB_REQUEST_PARSE_SPECIAL */
    eb_str context;
    const eb_str *continuations; /* n_continuations strings, none of them empty */
} eb_score_text_request;

/* Used only where eb_info.scored_by is not empty, and not where the session has a tokenizer and eb.score/1. */
typedef struct eb_score_text_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] As score() of eb.score/1: PREFILL, one SCORE per continuation, DONE (EB_FINISH_SCORED). A log-likelihood
     * that is only known not to be greater than a value is told as that value. */
    eb_status (*score)(eb_session *session, const eb_score_text_request *const *requests, size_t n,
                       const eb_sink *sink, eb_error *error);
} eb_score_text_v1;

/* ---------------------------------------------------------------- extension eb.lora/1 */

#define EB_EXT_LORA "eb.lora/1"

/* A low-rank adapter. The file's format is the backend's own: GGUF for llama.cpp. */
typedef struct eb_lora {
    uint32_t struct_size;
    float scale;  /* 1: as it was trained; 0: without effect; finite */
    eb_str path;  /* absolute */
} eb_lora;

/* Adapters on a model that stays loaded: the host asks the same questions with each of them. */
typedef struct eb_lora_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] From now on these n adapters act on the session's model, all together, and no others; n == 0: none (adapters
     * may be NULL). Every sequence and kept prefix is forgotten, as by reset(). Answers are those of a session in which
     * nothing else was ever set; with scale 0 those of the model alone.
     * When it fails nothing has changed. EB_ERR_MODEL: the file is missing, malformed, no adapter, or one for another
     * model; EB_ERR_INVALID: a scale that is not finite; EB_ERR_UNSUPPORTED: this model takes none. */
    eb_status (*set)(eb_session *session, const eb_lora *const *adapters, size_t n, eb_error *error);
} eb_lora_v1;
/* ---------------------------------------------------------------- extension eb.logits/1 */

#define EB_EXT_LOGITS "eb.logits/1"

/* What the model says of each next token, for comparing two models: KL divergence and the like. */
typedef struct eb_logits_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] Evaluates n_tokens >= 1 tokens from an empty sequence and calls row(), in their order, for each from `first` on:
     * n_vocab logits (natural, before any sampling) of what comes after that token, borrowed for the call. row() returns
     * 0 to go on, or 1: end soon, with EB_OK. EB_ERR_CONTEXT_FULL if the tokens do not fit n_ctx. abort() ends it. */
    eb_status (*evaluate)(eb_session *session, const int32_t *tokens, size_t n_tokens, size_t first,
                          int32_t (*row)(void *user, const float *logits, size_t n_vocab), void *user, eb_error *error);
} eb_logits_v1;

/* ---------------------------------------------------------------- extension eb.quantize/1 */

#define EB_EXT_QUANTIZE "eb.quantize/1"

/* eb_quantize_request.flags */
#define EB_QUANTIZE_PURE ((uint64_t)1 << 0) /* every matrix gets that kind, also those that are usually kept finer */

/* A model file of which a smaller one is wanted. The host sets struct_size. */
typedef struct eb_quantize_request {
    uint32_t struct_size;
    uint32_t threads; /* 0: as many as the backend thinks best */
    uint64_t flags;   /* EB_QUANTIZE_* */
    eb_str model;     /* path of the original, absolute */
    eb_str out;       /* path of the file to write, absolute. It is there, and empty; nothing else can be written */
    eb_str kind;      /* "Q4_K_M", "INT8", ...: words of the backend's own, in any case */
    eb_str imatrix;   /* path of a file that says how much each weight matters, absolute, or empty */
    void (*log)(void *log_user, int32_t level, eb_str line); /* as in eb_open_params; valid until the call returns */
    void *log_user;
} eb_quantize_request;

/* What was written. The host sets struct_size. Unknown: 0. */
typedef struct eb_quantized {
    uint32_t struct_size;
    uint32_t n_fallback;    /* tensors whose shape does not go with that kind, and that have another one */
    uint64_t n_weights;     /* numbers in the model */
    uint64_t weights_bytes; /* and the bytes that they take */
} eb_quantized;

/* A backend that can make models smaller by itself offers this. */
typedef struct eb_quantize_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] Without a session open. EB_ERR_INVALID for a kind or imatrix that is not known, and say which there are;
     * EB_ERR_MODEL for an original that cannot be quantised; EB_ERR_UNSUPPORTED where the kind needs what is not given.
     * It may take minutes and is ended by ending the process. */
    eb_status (*quantize)(const eb_quantize_request *request, eb_quantized *out, eb_error *error);
} eb_quantize_v1;

/* ---------------------------------------------------------------- extension eb.train/1 */

#define EB_EXT_TRAIN "eb.train/1"

/* eb_train_request.flags */
#define EB_TRAIN_FORCE_MEMORY ((uint64_t)1 << 0) /* start also where memory looks too short */

/* One step, or the evaluation of the validation texts after an epoch. The plugin sets struct_size. Unknown: 0. */
typedef struct eb_train_step {
    uint32_t struct_size;
    uint32_t is_validation; /* 1: nothing was learned; `loss` is the mean over the validation texts */
    uint32_t epoch;         /* from 1 */
    uint32_t reserved;      /* 0 */
    uint64_t step;          /* from 1, over all epochs; of a validation the last step before it, 0 before the first */
    uint64_t n_steps;       /* that there will be in all */
    uint64_t tokens;        /* learned from up to now, over all epochs */
    double loss;            /* cross-entropy of the next token, nats per token; of a step before it changes the weights */
} eb_train_step;

/* A model file to be trained further on texts, all of its weights that can be. The host sets struct_size. */
typedef struct eb_train_request {
    uint32_t struct_size;
    uint32_t threads;       /* 0: as many as the backend thinks best */
    uint64_t flags;         /* EB_TRAIN_* */
    eb_str model;           /* path of the model, absolute; it is only read */
    eb_str out;             /* path of the file to write, absolute. It is there, and empty; nothing else can be written */
    uint32_t n_ctx;         /* tokens of one step; 0: as the backend thinks best. It may be rounded up, eb_trained tells */
    uint32_t epochs;        /* how often each text is learned from; >= 1 */
    float learning_rate;    /* of AdamW, constant, without weight decay; above 0 */
    float validation_share; /* 0 to 0.9: this part of the texts, the last, is not learned from but evaluated */
    const eb_str *texts;    /* n_texts >= 1, in the order in which they are learned from; at least one is left to learn from */
    size_t n_texts;
    void (*log)(void *log_user, int32_t level, eb_str line); /* as in eb_open_params; valid until the call returns */
    void *log_user;
    /* After each step and each validation, on the thread that called train(). 0: go on; 1: stop soon, nothing is written
     * and train() returns EB_ERR_ABORTED. */
    int32_t (*step)(void *step_user, const eb_train_step *step);
    void *step_user;
} eb_train_request;

/* What came of it. The host sets struct_size. Unknown: 0; losses NaN. */
typedef struct eb_trained {
    uint32_t struct_size;
    uint32_t n_ctx;           /* tokens of one step, as it was done */
    uint64_t steps;
    uint64_t tokens;          /* learned from, over all epochs */
    uint64_t n_trained;       /* numbers of the model that were learned */
    uint64_t n_weights;       /* of all */
    double loss_first;        /* of the first step */
    double loss_last;         /* of the last */
    double validation_before; /* mean loss of the validation texts before the first step */
    double validation_after;  /* and after the last */
} eb_trained;

/* A backend that can train models on this board offers this. */
typedef struct eb_train_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] Without a session open. Writes a whole model in the format of the original, which open() takes.
     * The same request gives the same losses on the same machine. EB_ERR_UNSUPPORTED for a model that cannot be trained, by its
     * architecture or by how its weights are kept: say which can; EB_ERR_OUT_OF_MEMORY, before anything is read, with
     * needed and free memory where it is plain that it will not fit; EB_ERR_INVALID for numbers out of range and for texts too short
     * to learn from; EB_ERR_MODEL for a broken model. It may take hours and is ended by step() or by ending the process. */
    eb_status (*train)(const eb_train_request *request, eb_trained *out, eb_error *error);
} eb_train_v1;

/* ---------------------------------------------------------------- extension eb.device/1 */

#define EB_EXT_DEVICE "eb.device/1"

/* One device that the backend can run on. The host sets struct_size. Unknown: 0 and empty. Strings live until
 * the process ends. */
typedef struct eb_device {
    uint32_t struct_size;
    uint32_t cores;        /* that the backend would use */
    eb_str name;           /* "RK3588 NPU" */
    eb_str driver;         /* driver and its version: "rknpu 0.9.8" */
    uint64_t memory_bytes; /* that it can use: its own, or shared with the CPU */
    uint64_t memory_free_bytes;
} eb_device;

/* What the backend runs on, in numbers; goes into manifest.json. */
typedef struct eb_device_v1 {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    /* [host] Device `index`, from 0; EB_ERR_INVALID past the last (eb_probe.device_count of them). */
    eb_status (*get)(uint32_t index, eb_device *out, eb_error *error);
} eb_device_v1;

/* ---------------------------------------------------------------- extension eb.power/1 */

#define EB_EXT_POWER "eb.power/1"

/* A power rail that only the vendor's SDK can read. */
typedef struct eb_power_v1 {
    uint32_t struct_size;
    uint32_t n_rails;
    /* [any] Name of rail 0 .. n_rails-1 ("NPU"), alive until the process ends; empty past the last. */
    eb_str (*name)(uint32_t rail);
    /* [any] The rail's power now, in watts. Called at up to 100 Hz, also while generate() runs: no longer than
     * 1 ms, and never waiting for generate() to end. */
    eb_status (*read)(uint32_t rail, double *watts, eb_error *error);
} eb_power_v1;

/* ---------------------------------------------------------------- helpers for plugins */

/* Is s the NUL-terminated string z? */
static inline int eb_str_eq(eb_str s, const char *z) {
    size_t i;
    for (i = 0; i < s.len; i++)
        if (z[i] == '\0' || z[i] != s.ptr[i]) return 0;
    return z[s.len] == '\0';
}

/* Fills *error (which may be NULL) and returns code: `return eb_fail(error, EB_ERR_MODEL, "...");` */
static inline eb_status eb_fail(eb_error *error, eb_status code, const char *message) {
    if (error) {
        size_t i = 0;
        error->code = code;
        error->vendor_code = 0;
        for (; message[i] != '\0' && i + 1 < EB_ERROR_MESSAGE_SIZE; i++) error->message[i] = message[i];
        error->message[i] = '\0';
    }
    return code;
}

#ifdef __cplusplus
}
#endif

#endif /* EDGEBENCH_H */

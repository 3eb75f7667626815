/*
 * The smallest useful edgebench plugin in C: copy it, and put your SDK's calls where it says SDK.
 *
 *   cc -std=c99 -O2 -shared -fPIC -I backends -o libtemplate.so backends/template/template.c
 *   edgebench conform ./libtemplate.so
 *
 * It "runs" a model that repeats its prompt, byte by byte, so that everything works before any SDK is there.
 */
#include "edgebench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct eb_session {
    /* SDK: the handle of the loaded model goes here. */
    uint32_t n_ctx;
    volatile int aborted; /* set by abort() on another thread */
};

static const char name[] = "template", version[] = "0.1", runtime[] = "no SDK 1.0", device[] = "CPU";
#define STR(literal) {literal, sizeof(literal) - 1}

static eb_status probe(eb_probe *out, eb_error *error) {
    eb_str r = STR(runtime), d = STR(device);
    (void)error;
    out->device_count = 1; /* SDK: how many NPUs are there? 0 and a note if none. */
    out->runtime = r;
    out->device = d;
    return EB_OK;
}

static eb_status open_model(const eb_open_params *p, eb_session **out, eb_error *error) {
    eb_session *s;
    uint32_t i, n_ctx = 4096;
    char text[1024];
    *out = NULL;
    for (i = 0; i < p->n_params; i++) {
        eb_str value = p->params[i].value;
        if (!eb_str_eq(p->params[i].key, "n_ctx") || value.len == 0 || value.len > 8) {
            snprintf(text, sizeof text, "unknown parameter or bad value: `%.*s`; there is n_ctx, a number of tokens",
                     (int)p->params[i].key.len, p->params[i].key.ptr);
            return eb_fail(error, EB_ERR_INVALID, text);
        }
        memcpy(text, value.ptr, value.len);
        text[value.len] = '\0';
        n_ctx = (uint32_t)strtoul(text, NULL, 10);
    }
    if (p->model.len) { /* SDK: load the model here. The template only looks whether the file is there. */
        FILE *file;
        if (p->model.len >= sizeof text) return eb_fail(error, EB_ERR_MODEL, "the model's path is too long");
        memcpy(text, p->model.ptr, p->model.len);
        text[p->model.len] = '\0';
        file = fopen(text, "rb");
        if (!file) return eb_fail(error, EB_ERR_MODEL, "the model cannot be opened; check its path");
        fclose(file);
    }
    s = calloc(1, sizeof *s);
    if (!s) return eb_fail(error, EB_ERR_OUT_OF_MEMORY, "no memory for a session");
    s->n_ctx = n_ctx ? n_ctx : 1;
    *out = s;
    return EB_OK;
}

static void close_model(eb_session *s) { free(s); /* SDK: free the model first. */ }

static eb_status info(eb_session *s, eb_info *out, eb_error *error) {
    (void)error;
    out->n_ctx = out->n_ctx_train = s->n_ctx;
    out->n_vocab = 256;
    out->flags = EB_INFO_TOKENIZER; /* leave it out if the tokenizer sits on the device */
    out->bos_token = out->eos_token = -1;
    return EB_OK;
}

/* SDK: your tokenizer. Here a token is a byte. */
static eb_status tokenize(eb_session *s, eb_str text, uint64_t flags, int32_t *tokens, size_t capacity,
                          size_t *n_tokens, eb_error *error) {
    size_t i;
    (void)s, (void)flags;
    *n_tokens = text.len;
    for (i = 0; i < text.len && i < capacity; i++) tokens[i] = (unsigned char)text.ptr[i];
    return text.len <= capacity ? EB_OK : eb_fail(error, EB_ERR_BUFFER, "the buffer is too small");
}

static eb_status detokenize(eb_session *s, const int32_t *tokens, size_t n, char *text, size_t capacity,
                            size_t *length, eb_error *error) {
    size_t i;
    (void)s;
    *length = n;
    for (i = 0; i < n && i < capacity; i++) text[i] = (char)tokens[i];
    return n <= capacity ? EB_OK : eb_fail(error, EB_ERR_BUFFER, "the buffer is too small");
}

/* One request: PREFILL, a TOKEN per token as soon as it is known, DONE. */
static void run(eb_session *s, const eb_request *r, const eb_sink *sink) {
    eb_event e;
    uint32_t i;
    size_t n = r->n_tokens ? r->n_tokens : r->text.len;
    memset(&e, 0, sizeof e);
    e.struct_size = sizeof e;
    e.request_id = r->id;
    e.kind = EB_EVENT_DONE;
    e.finish = EB_FINISH_LENGTH;
    if (n >= s->n_ctx) {
        eb_str why = STR("the prompt does not fit; raise n_ctx");
        e.finish = EB_FINISH_ERROR;
        e.status = EB_ERR_CONTEXT_FULL;
        e.text = why;
        sink->event(sink->user, &e);
        return;
    }
    /* SDK: evaluate the prompt here. */
    e.kind = EB_EVENT_PREFILL;
    e.prompt_tokens = (uint32_t)n;
    sink->event(sink->user, &e);
    for (i = 0; i < r->max_new && n > 0 && n + i < s->n_ctx && !s->aborted; i++) {
        /* SDK: make the next token here. Stop at the end of the answer unless EB_REQUEST_IGNORE_EOS is set. */
        char byte = r->n_tokens ? (char)r->tokens[i % n] : r->text.ptr[i % n];
        e.kind = EB_EVENT_TOKEN;
        e.token = (unsigned char)byte;
        e.text.ptr = &byte;
        e.text.len = 1;
        if (sink->event(sink->user, &e)) e.finish = EB_FINISH_SINK;
        /* Stop strings are left to the host, which cuts the text; a real backend stops there to save time. */
        if (e.finish != EB_FINISH_LENGTH) break;
    }
    e.kind = EB_EVENT_DONE, e.text.len = 0;
    if (s->aborted) e.finish = EB_FINISH_ABORTED, e.status = EB_ERR_ABORTED;
    sink->event(sink->user, &e);
}

static eb_status generate(eb_session *s, const eb_request *const *requests, size_t n, const eb_sink *sink,
                          eb_error *error) {
    size_t i;
    s->aborted = 0;
    for (i = 0; i < n; i++) run(s, requests[i], sink);
    return s->aborted ? eb_fail(error, EB_ERR_ABORTED, "aborted") : EB_OK;
}

static eb_status reset(eb_session *s, eb_error *error) { return (void)s, (void)error, EB_OK; }
static void abort_call(eb_session *s) { s->aborted = 1; }
static const void *get_extension(eb_str wanted) { return (void)wanted, (const void *)0; }

static const eb_backend table = {sizeof(eb_backend), EB_ABI_MINOR, STR(name),  STR(version), probe, open_model, close_model,
                                 info, tokenize, detokenize, generate, reset, abort_call, get_extension};

EB_EXPORT const eb_backend *eb_backend_v1(uint32_t host_minor) { return (void)host_minor, &table; }

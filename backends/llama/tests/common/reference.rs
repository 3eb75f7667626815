//! Log-likelihoods straight from llama.cpp's logits, without any code of this backend.

use super::model;
use llama_cpp_sys_2 as sys;
use std::ffi::CString;

/// The same with llama.cpp alone: the log-softmax of each row, by the book.
pub struct Reference {
    model: *mut sys::llama_model,
    context: *mut sys::llama_context,
    n_vocab: usize,
}

impl Reference {
    /// The demo model, one thread, flash attention off.
    pub fn new() -> Reference {
        let path = CString::new(model().to_str().unwrap()).unwrap();
        unsafe {
            let model = sys::llama_model_load_from_file(path.as_ptr(), sys::llama_model_default_params());
            assert!(!model.is_null());
            let mut params = sys::llama_context_default_params();
            params.n_ctx = 1024;
            params.n_batch = 1024;
            params.n_ubatch = 1024;
            params.n_threads = 1;
            params.n_threads_batch = 1;
            params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            let context = sys::llama_init_from_model(model, params);
            assert!(!context.is_null());
            let n_vocab = sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model)) as usize;
            Reference { model, context, n_vocab }
        }
    }

    /// Text to tokens with BOS, by llama.cpp alone.
    pub fn tokenize(&self, text: &str) -> Vec<i32> {
        let mut tokens = vec![0; text.len() + 8];
        let n = unsafe {
            let vocab = sys::llama_model_get_vocab(self.model);
            let (text, len) = (text.as_ptr().cast(), text.len() as i32);
            sys::llama_tokenize(vocab, text, len, tokens.as_mut_ptr(), tokens.len() as i32, true, false)
        };
        tokens.truncate(usize::try_from(n).unwrap());
        tokens
    }

    /// `batches`: the sequence, cut as it is to be evaluated. Logits are only asked for where they are needed.
    pub fn score(&self, batches: &[&[i32]], continuation: &[i32]) -> (f64, bool) {
        let first = batches.concat().len() - continuation.len();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        let mut position = 0;
        unsafe {
            sys::llama_memory_clear(sys::llama_get_memory(self.context), true);
            for tokens in batches.iter().filter(|b| !b.is_empty()) {
                let mut batch = sys::llama_batch_init(tokens.len() as i32, 0, 1);
                batch.n_tokens = tokens.len() as i32;
                for (i, &token) in tokens.iter().enumerate() {
                    *batch.token.add(i) = token;
                    *batch.pos.add(i) = (position + i) as i32;
                    *batch.n_seq_id.add(i) = 1;
                    **batch.seq_id.add(i) = 0;
                    *batch.logits.add(i) = i8::from(position + i >= first);
                }
                assert_eq!(sys::llama_decode(self.context, batch), 0);
                sys::llama_batch_free(batch);
                for i in (0..tokens.len()).filter(|i| position + i >= first) {
                    let row = sys::llama_get_logits_ith(self.context, i as i32);
                    rows.push(std::slice::from_raw_parts(row, self.n_vocab).iter().map(|&x| x.into()).collect());
                }
                position += tokens.len();
            }
        }
        let (mut sum, mut greedy) = (0.0, true);
        for (row, &token) in rows.iter().zip(continuation) {
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            let p = row[token as usize];
            sum += (p.exp() / total).ln();
            greedy &= row.iter().all(|&x| x <= p);
        }
        (sum, greedy)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        unsafe {
            sys::llama_free(self.context);
            sys::llama_model_free(self.model);
        }
    }
}

//! From what a model wrote to the answer that is judged. It must not know datasets or metrics.

/// The answer in a generated text: without the white space around it.
pub fn answer(output: &str) -> &str {
    output.trim()
}

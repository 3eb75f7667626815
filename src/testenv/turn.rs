//! A conversation as data: who says what. It must not know how a model's template writes it.

use serde::{Deserialize, Serialize};

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One part of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub role: Role,
    pub content: String,
}

impl Turn {
    pub fn new(role: Role, content: impl Into<String>) -> Turn {
        Turn { role, content: content.into() }
    }
}

/// Reads the JSON array `[{"role": "user", "content": "…"}, …]` of a conversation that waits for the assistant.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(messages: &str) -> Result<Vec<Turn>, String> {
    let turns: Vec<Turn> = serde_json::from_str(messages).map_err(|e| {
        let text = e.to_string();
        // Its place is within the array, which says nothing to a reader of the line.
        text.rsplit_once(" at line").map_or(text.clone(), |(what, _)| what.to_owned())
    })?;
    match turns.last() {
        Some(Turn { role: Role::User, .. }) => Ok(turns),
        Some(_) => Err("the last one is not the user's".to_owned()),
        None => Err("there are none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_ends_with_the_user() {
        let turns = parse(r#"[{"role": "system", "content": "Be \u00e9brief."}, {"role": "user", "content": "Hi"}]"#);
        assert_eq!(turns, Ok(vec![Turn::new(Role::System, "Be ébrief."), Turn::new(Role::User, "Hi")]));
        for wrong in [
            "[]",
            r#"[{"role": "assistant", "content": "Hi"}]"#,
            r#"[{"role": "tool", "content": "Hi"}]"#,
            r#"[{"role": "user"}]"#,
            r#"["Hi"]"#,
        ] {
            assert!(parse(wrong).is_err_and(|e| !e.contains("line")), "{wrong}");
        }
    }
}

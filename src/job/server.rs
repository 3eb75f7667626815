//! The words of an object that is a server: where it is. It must not know how one is asked.

use super::toml::Table;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As written in the job.
    pub url: String,
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `http://HOST[:PORT][/PATH]`, or `https://…`.
    pub fn parse(url: &str) -> Option<Address> {
        let (rest, usual) = match url.strip_prefix("http://") {
            Some(rest) => (rest, 80),
            None => (url.strip_prefix("https://")?, 443),
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        // The colons of an IPv6 address stand in brackets.
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[bracket..].rfind(':') {
            Some(colon) => (&authority[..bracket + colon], authority[bracket + colon + 1..].parse().ok()?),
            None => (authority, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let good = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '@');
        good.then(|| Address { url: url.to_owned(), host: host.to_owned(), port })
    }

    /// Is it this machine, as the name alone tells?
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host == "::1" || self.host.starts_with("127.")
    }
}

/// `url = "http://127.0.0.1:8000/v1"` of an object, or a list of them. An object that is `served` needs one.
pub fn urls(table: &mut Table, served: bool) -> Option<Vec<String>> {
    let todo = "say where the server is: url = \"http://127.0.0.1:8000/v1\"";
    let value = if served { table.need("url", todo)? } else { table.get("url")? };
    if !served {
        value.problem("`url` belongs to backend = \"openai\"", "leave it out, or change the backend");
        return None;
    }
    let url = |text: &str| Address::parse(text).map(|_| text.to_owned());
    let mut urls = Vec::new();
    for value in value.sweep() {
        match value.name().map(url) {
            Some(Some(url)) => urls.push(url),
            Some(None) => value.problem("`url` is no address of a server", "write it like http://127.0.0.1:8000/v1"),
            None => {}
        }
    }
    Some(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let parts = |url: &str| Address::parse(url).map(|a| (a.host.clone(), a.port, a.is_local()));
        let some = |host: &str, port, local| Some((host.to_owned(), port, local));
        assert_eq!(parts("http://127.0.0.1:8000/v1"), some("127.0.0.1", 8000, true));
        assert_eq!(parts("https://api.example.org/v1"), some("api.example.org", 443, false));
        assert_eq!(parts("http://[::1]:81"), some("::1", 81, true));
        assert_eq!(parts("http://[fe80::2]/v1"), some("fe80::2", 80, false));
        for bad in ["127.0.0.1:8000", "http://", "http://:80/", "http://h:port", "http://a@b", "ftp://h"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}

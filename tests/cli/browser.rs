//! The report in a real browser: headless Chromium, spoken to through a pipe in its own protocol. Where there is no Chromium
//! the tests say so and pass. `EDGEBENCH_SCREENSHOTS=DIR` leaves pictures to look at.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// Everything that the page reported.
    pub events: Vec<Value>,
    _profile: TempDir,
}

/// Where Chromium is, if it is.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
}

impl Browser {
    /// Starts it; `None` where there is none, after a word about it.
    pub fn start() -> Option<Browser> {
        let Some(program) = chromium() else {
            eprintln!("skipped: no Chromium in PATH, so the report is not looked at in a browser");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The protocol's pipes are the descriptors 3 and 4; what Chromium says goes nowhere.
        let script = "exec \"$@\" 3<&0 4>&1 >/dev/null 2>/dev/null </dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(program).args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-pipe",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser =
            Browser { child, input, output, session: None, calls: 0, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = Some(browser.call("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// One call of the protocol; events that come meanwhile are kept.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(message.to_string().as_bytes()).and_then(|()| self.input.write_all(b"\0")).unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "Chromium has gone");
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        while !self.events.iter().any(|e| e["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// The value of an expression on the page.
    pub fn value(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{script}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// A window of so many pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What the page's author would not want to see: errors, refusals by the policy, requests other than for the page.
    pub fn complaints(&self) -> Vec<String> {
        let complaint = |e: &Value| match e["method"].as_str()? {
            "Runtime.exceptionThrown" | "Log.entryAdded" => Some(e["params"].to_string()),
            "Runtime.consoleAPICalled" => Some(e["params"].to_string()),
            "Network.requestWillBeSent" => {
                let url = e["params"]["request"]["url"].as_str()?;
                (!url.starts_with("file://") && !url.starts_with("data:")).then(|| url.to_owned())
            }
            _ => None,
        };
        self.events.iter().filter_map(complaint).collect()
    }

    /// Writes a picture, if pictures are wanted.
    pub fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("EDGEBENCH_SCREENSHOTS") else { return };
        let picture = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let data = picture["data"].as_str().unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), from_base64(data)).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(u32::from).collect();
    digits
        .chunks(4)
        .flat_map(|four| {
            let bits = four.iter().enumerate().fold(0, |bits, (i, d)| bits | d << (18 - 6 * i));
            (0..four.len().saturating_sub(1)).map(move |i| (bits >> (16 - 8 * i)) as u8)
        })
        .collect()
}

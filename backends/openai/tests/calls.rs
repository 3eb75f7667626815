//! Calls through the C table that a job does not make: many requests at once, an abort, TLS.

#[path = "../../plugin/tests/harness/mod.rs"]
mod harness;

use edgebench_abi::{EB_ERR_ABORTED, EB_ERR_DEVICE, EB_EVENT_DONE, EB_EVENT_TOKEN};
use harness::{Session, ask};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Answers requests on one connection; `answer` makes the body of one to continue a prompt.
fn serve(stream: impl Read + Write, answer: &dyn Fn(&str) -> String) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let is_get = line.starts_with("GET");
        while line.trim() != "" {
            line.clear();
            stream.read_line(&mut line).ok()?;
            if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let body = match is_get {
            true => "{\"data\":[{\"id\":\"m\"}]}".to_owned(),
            false => answer(&String::from_utf8_lossy(&body)),
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        write!(stream.get_mut(), "{head} {}\r\n\r\n{body}", body.len()).ok()?;
        stream.get_mut().flush().ok()?;
    }
}

fn text(text: &str) -> String {
    format!("{{\"choices\":[{{\"text\":\"{text}\",\"finish_reason\":\"stop\"}}]}}")
}

/// A server without TLS; its port.
fn plain(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &*answer));
        }
    });
    port
}

fn open(url: &str, params: &[(&str, &str)]) -> Result<Session, harness::Error> {
    let params = [&[("url", url)], params].concat();
    Session::open_with(edgebench_openai::table(), Path::new(""), &params)
}

#[test]
fn the_requests_of_one_call_run_at_the_same_time_up_to_the_limit() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (its_now, its_most) = (now.clone(), most.clone());
    let port = plain(move |body| {
        if !body.contains("slow") {
            return text("x");
        }
        its_most.fetch_max(its_now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Long enough for others to come, as many as may.
        std::thread::sleep(Duration::from_millis(400));
        its_now.fetch_sub(1, Ordering::SeqCst);
        text(if body.contains("slow 3") { "three" } else { "other" })
    });
    let session = open(&format!("http://127.0.0.1:{port}"), &[("concurrency", "3")]).unwrap();
    let requests: Vec<_> = (0..7).map(|i| harness::Request { id: i, ..ask(&format!("slow {i}"), 4) }).collect();
    let (result, events) = session.generate(&requests);
    result.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(events.iter().filter(|e| e.kind == EB_EVENT_DONE && e.status == 0).count(), 7);
    let three: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_TOKEN && e.text() == "three").collect();
    assert_eq!(three.iter().map(|e| e.id).collect::<Vec<_>>(), [3], "answers do not change places");
}

#[test]
fn an_abort_does_not_wait_for_the_server() {
    let port = plain(|body| {
        if body.contains("for ever") {
            std::thread::sleep(Duration::from_secs(3600));
        }
        text("x")
    });
    let session = open(&format!("http://127.0.0.1:{port}"), &[]).unwrap();
    let requests = [ask("for ever", 4), harness::Request { id: 2, ..ask("for ever too", 4) }];
    let aborter = session.aborter();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        aborter.abort();
    });
    let (result, events) = session.generate(&requests);
    thread.join().unwrap();
    assert_eq!(result.unwrap_err().code, EB_ERR_ABORTED);
    assert_eq!(events.iter().filter(|e| e.kind == EB_EVENT_DONE && e.status == EB_ERR_ABORTED).count(), 2);
    let (result, _) = session.generate(&[ask("again", 4)]);
    result.expect("the next call works as if nothing had been");
}

#[test]
fn tls_trusts_the_given_certificates_and_no_others() {
    // Certificates of an authority that nobody has, for a hundred years; its key is gone.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || serve(StreamOwned::new(connection, stream), &|_| text("safe")));
        }
    });
    let error = open(&url, &[("retries", "9")]).err().unwrap();
    assert_eq!(error.code, EB_ERR_DEVICE);
    assert!(error.message.to_lowercase().contains("issuer") && !error.message.contains("tried"), "{}", error.message);
    let session = open(&url, &[("ca", folder.join("ca.pem").to_str().unwrap())]).unwrap();
    let (result, events) = session.generate(&[ask("hello", 4)]);
    result.unwrap();
    assert!(events.iter().any(|e| e.kind == EB_EVENT_TOKEN && e.text() == "safe"));
}

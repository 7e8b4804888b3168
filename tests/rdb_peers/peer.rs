//! A real server in a directory of its own, and a client of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// What a command replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Response>),
}

/// A server that is stopped when this is dropped.
pub struct Peer {
    program: String,
    dir: TempDir,
    port: u16,
    /// Whether it packs small collections as Redis 7.2 and later do.
    modern: bool,
    child: Option<Child>,
    client: Option<BufReader<TcpStream>>,
}

impl Peer {
    /// An empty directory for a server that is installed; `None` where it is not.
    pub fn prepare(program: &str) -> Option<Peer> {
        let version = Command::new(program).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = listener.local_addr().ok()?.port();
        Some(Peer {
            program: program.to_owned(),
            dir: tempfile::tempdir().ok()?,
            port,
            modern: !version.contains("v=7.0") && !version.contains("v=6"),
            child: None,
            client: None,
        })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn keeps_encodings(&self) -> bool {
        self.modern
    }

    /// Starts the server on what lies in its directory, and waits until it has been loaded.
    pub fn start(&mut self) {
        let port = self.port.to_string();
        let dir = self.dir.path().display().to_string();
        let options = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &dir,
        ];
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(["--port", &port])
            .args(options)
            .stdout(Stdio::from(log))
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        for _ in 0..200 {
            if self.answers() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.dir.path().join("log"));
        panic!(
            "{} does not start: {}",
            self.program,
            log.unwrap_or_default()
        );
    }

    /// Whether the data set has been loaded; a server that is still at it says so instead of PONG.
    fn answers(&mut self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut client = BufReader::new(stream);
        let mut line = String::new();
        let asked = client.get_mut().write_all(b"PING\r\n");
        let ready = asked.is_ok() && client.read_line(&mut line).is_ok() && line == "+PONG\r\n";
        self.client = Some(client);
        ready
    }

    pub fn call(&mut self, args: &[&[u8]]) -> Response {
        let client = self.client.as_mut().unwrap();
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend(format!("${}\r\n", arg.len()).bytes());
            request.extend_from_slice(arg);
            request.extend(b"\r\n");
        }
        client.get_mut().write_all(&request).unwrap();
        response(client)
    }

    pub fn bulk(&mut self, args: &[&[u8]]) -> Vec<u8> {
        match self.call(args) {
            Response::Bulk(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub fn bulks(&mut self, args: &[&[u8]]) -> Vec<Vec<u8>> {
        let Response::Array(elements) = self.call(args) else {
            panic!("not an array")
        };
        let bytes = |element| match element {
            Response::Bulk(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        elements.into_iter().map(bytes).collect()
    }
}

fn response(client: &mut BufReader<TcpStream>) -> Response {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    let line = line.trim_end();
    let (kind, text) = line.split_at(1);
    let number = || text.parse::<i64>().unwrap();
    match kind {
        "+" => Response::Simple(text.to_owned()),
        "-" => Response::Error(text.to_owned()),
        ":" => Response::Int(number()),
        "$" if number() < 0 => Response::Null,
        "$" => {
            let mut bytes = vec![0; number() as usize + 2];
            client.read_exact(&mut bytes).unwrap();
            bytes.truncate(bytes.len() - 2);
            Response::Bulk(bytes)
        }
        "*" => Response::Array((0..number()).map(|_| response(client)).collect()),
        other => panic!("reply {other}"),
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! A plain connection for everything that is not measured: filling, asking, waiting.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::replies::Counter;
use crate::requests::encode_words;

/// Requests that are sent before their replies are read, when filling.
const FILL_DEPTH: u64 = 500;

/// A connection that waits for each reply.
pub struct Control {
    stream: BufReader<TcpStream>,
}

impl Control {
    /// Connects.
    pub fn connect(port: u16) -> Outcome<Control> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Control {
            stream: BufReader::with_capacity(256 * 1024, stream),
        })
    }

    /// Runs a command given as words; the reply as text, an array's elements a line each.
    pub fn ask(&mut self, words: &str) -> Outcome<String> {
        let mut request = Vec::new();
        encode_words(&mut request, words);
        self.stream.get_mut().write_all(&request)?;
        let mut reply = String::new();
        self.read_reply(&mut reply)?;
        Ok(reply)
    }

    fn read_reply(&mut self, out: &mut String) -> Outcome<()> {
        let mut lacking: u64 = 1;
        while lacking > 0 {
            lacking -= 1;
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            let text = line.trim_end();
            let body = text.get(1..).unwrap_or_default();
            match text.as_bytes().first() {
                Some(b'-') => return Err(body.into()),
                Some(b'$') if body != "-1" => {
                    let mut bulk = vec![0; body.parse::<usize>()? + 2];
                    self.stream.read_exact(&mut bulk)?;
                    out.push_str(String::from_utf8_lossy(&bulk).trim_end_matches("\r\n"));
                    out.push('\n');
                }
                Some(b'*') => lacking += body.parse::<i64>()?.max(0) as u64,
                _ => {
                    out.push_str(body);
                    out.push('\n');
                }
            }
        }
        if out.ends_with('\n') {
            out.pop();
        }
        Ok(())
    }

    /// The numbers and texts of an INFO section.
    pub fn info(&mut self, section: &str) -> Outcome<HashMap<String, String>> {
        let text = self.ask(&format!("INFO {section}"))?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(k, v)| (k.to_owned(), v.trim_end().to_owned()))
            .collect())
    }

    /// A number of an INFO section.
    pub fn info_number(&mut self, section: &str, field: &str) -> Outcome<f64> {
        let info = self.info(section)?;
        let text = info
            .get(field)
            .ok_or_else(|| format!("INFO {section} has no {field}"))?;
        Ok(text.parse()?)
    }

    /// Waits until an INFO field reads `wanted`.
    pub fn wait_for(&mut self, section: &str, field: &str, wanted: &str) -> Outcome<()> {
        let begun = Instant::now();
        while self.info(section)?.get(field).map(String::as_str) != Some(wanted) {
            if begun.elapsed() > Duration::from_secs(300) {
                return Err(format!("{field} does not become {wanted}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether the server takes these requests.
    pub fn takes(&mut self, requests: u64, encode: impl FnMut(u64, &mut Vec<u8>)) -> bool {
        self.fill(requests, encode).is_ok()
    }

    /// Sends requests `0..n`, encoded by `encode_one`, many at a time. Fails if one is refused.
    pub fn fill(&mut self, n: u64, mut encode_one: impl FnMut(u64, &mut Vec<u8>)) -> Outcome<()> {
        let mut counter = Counter::default();
        let mut out = Vec::new();
        let mut sent = 0;
        while sent < n {
            out.clear();
            let upto = (sent + FILL_DEPTH).min(n);
            for i in sent..upto {
                encode_one(i, &mut out);
            }
            self.stream.get_mut().write_all(&out)?;
            let mut lacking = upto - sent;
            while lacking > 0 {
                let bytes = self.stream.fill_buf()?;
                if bytes.is_empty() {
                    return Err("the server closed the connection".into());
                }
                let counted = counter.feed(bytes);
                if counted.errors > 0 {
                    return Err(String::from_utf8_lossy(bytes)
                        .lines()
                        .find(|l| l.starts_with('-'))
                        .unwrap_or("refused")
                        .into());
                }
                let n = bytes.len();
                self.stream.consume(n);
                lacking = lacking.saturating_sub(counted.replies);
            }
            sent = upto;
        }
        Ok(())
    }
}

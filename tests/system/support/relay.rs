//! A relay between a replica and its primary, so that a test can cut the link at any byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens on a port of its own and passes every connection on to `target`.
pub struct Relay {
    port: u16,
    links: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let links = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::clone(&links);
        // The thread lives as long as the test process: a test ends long before it matters.
        thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { continue };
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                let _ = near.set_nodelay(true);
                let _ = far.set_nodelay(true);
                let mut links = accepted.lock().unwrap();
                links.push(near.try_clone().unwrap());
                links.push(far.try_clone().unwrap());
                drop(links);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        });
        Self { port, links }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection that stands now; says how many.
    pub fn cut(&self) -> usize {
        let mut links = self.links.lock().unwrap();
        let count = links.len() / 2;
        for link in links.drain(..) {
            let _ = link.shutdown(Shutdown::Both);
        }
        count
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut chunk = [0; 16 * 1024];
        while let Ok(count) = from.read(&mut chunk) {
            if count == 0 || to.write_all(&chunk[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

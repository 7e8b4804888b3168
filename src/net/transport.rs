//! TCP and Unix sockets as one thing: readiness is awaited, reads and writes are tried.
//!
//! Trying, rather than awaiting, lets a worker read into a buffer that all its connections share.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use rustix::net::{SendFlags, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Transport {
    /// Waits until a read may succeed.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Transport::Tcp(s) => s.readable().await,
            Transport::Unix(s) => s.readable().await,
        }
    }

    /// As [`Transport::readable`]. One task at a time asks.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Tcp(s) => s.poll_read_ready(context),
            Transport::Unix(s) => s.poll_read_ready(context),
        }
    }

    /// As [`Transport::writable`]. One task at a time asks.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Tcp(s) => s.poll_write_ready(context),
            Transport::Unix(s) => s.poll_write_ready(context),
        }
    }

    /// Waits until a write may succeed.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Transport::Tcp(s) => s.writable().await,
            Transport::Unix(s) => s.writable().await,
        }
    }

    /// Reads what is there; 0 at the end.
    ///
    /// A read that does not fill the buffer has emptied the socket, and is reported to the runtime
    /// as such: the next wait then waits for more to come, instead of a second read that finds
    /// nothing.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; what the socket says otherwise.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut short = None;
        let mut read = |fd: BorrowedFd<'_>| match rustix::io::read(fd, &mut *buf) {
            Ok(n) if n > 0 && n < buf.len() => {
                short = Some(n);
                Err(io::ErrorKind::WouldBlock.into())
            }
            other => other.map_err(io::Error::from),
        };
        let outcome = match self {
            Transport::Tcp(s) => s.try_io(Interest::READABLE, || read(s.as_fd())),
            Transport::Unix(s) => s.try_io(Interest::READABLE, || read(s.as_fd())),
        };
        short.map_or(outcome, Ok)
    }

    /// Writes what fits.
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits; what the socket says otherwise.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        // Without the C library, whose call is a point where a thread may be cancelled, and says so
        // before and after.
        let write = |fd: BorrowedFd<'_>| {
            rustix::net::send(fd, buf, SendFlags::NOSIGNAL).map_err(io::Error::from)
        };
        match self {
            Transport::Tcp(s) => s.try_io(Interest::WRITABLE, || write(s.as_fd())),
            Transport::Unix(s) => s.try_io(Interest::WRITABLE, || write(s.as_fd())),
        }
    }

    /// Writes what fits of several pieces.
    ///
    /// # Errors
    /// As [`Transport::try_write`].
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Tcp(s) => s.try_write_vectored(bufs),
            Transport::Unix(s) => s.try_write_vectored(bufs),
        }
    }

    /// The number of the processor that handled the latest packet of a TCP connection.
    pub fn processor(&self) -> Option<usize> {
        match self {
            Transport::Tcp(s) => usize::try_from(sockopt::socket_incoming_cpu(s).ok()?).ok(),
            Transport::Unix(_) => None,
        }
    }

    /// The file descriptor.
    pub fn fd(&self) -> RawFd {
        match self {
            Transport::Tcp(s) => s.as_raw_fd(),
            Transport::Unix(s) => s.as_raw_fd(),
        }
    }
}

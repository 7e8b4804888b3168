//! TLS.

use super::super::types::{Secret, TlsAuthClients};
use super::{Directive, Flags, Honour, INT_MAX, Int, OneOf, Slot, Text, YesNo};
use std::path::PathBuf;

const NO_TLS: Honour = Honour::Refused("TLS is not available in this version of Russet");

group! {
    /// TLS.
    Tls in tls {
        /// TCP port for TLS; 0 for none.
        "tls-port" = port: u16 = 0, Int::range(0, 65535) => NO_TLS;
        /// Certificate of the server.
        "tls-cert-file" = cert_file: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Key of the certificate.
        "tls-key-file" = key_file: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Pass phrase of the key.
        "tls-key-file-pass" = key_file_pass: Secret = Secret::default(), Text::ANY => NO_TLS;
        /// Certificate for connections that this server makes.
        "tls-client-cert-file" = client_cert_file: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Key of that certificate.
        "tls-client-key-file" = client_key_file: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Pass phrase of that key.
        "tls-client-key-file-pass" = client_key_file_pass: Secret = Secret::default(), Text::ANY
            => NO_TLS;
        /// Parameters for Diffie-Hellman.
        "tls-dh-params-file" = dh_params_file: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Certificates of the authorities that are trusted.
        "tls-ca-cert-file" = ca_cert_file: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Directory of such certificates.
        "tls-ca-cert-dir" = ca_cert_dir: Option<PathBuf> = None, Text::ANY => NO_TLS;
        /// Whether clients must show a certificate.
        "tls-auth-clients" = auth_clients: TlsAuthClients = TlsAuthClients::Yes,
            OneOf::<TlsAuthClients>::new() => NO_TLS;
        /// Use TLS for the link to a primary.
        "tls-replication" = replication: bool = false, YesNo => NO_TLS;
        /// Use TLS on the cluster bus.
        "tls-cluster" = cluster: bool = false, YesNo => NO_TLS;
        /// Versions of the protocol.
        "tls-protocols" = protocols: Option<String> = None, Text::ANY => NO_TLS;
        /// Ciphers of TLS 1.2.
        "tls-ciphers" = ciphers: Option<String> = None, Text::ANY => NO_TLS;
        /// Ciphers of TLS 1.3.
        "tls-ciphersuites" = ciphersuites: Option<String> = None, Text::ANY => NO_TLS;
        /// Choose the cipher by the server's preference.
        "tls-prefer-server-ciphers" = prefer_server_ciphers: bool = false, YesNo => NO_TLS;
        /// Let clients resume sessions.
        "tls-session-caching" = session_caching: bool = true, YesNo => NO_TLS;
        /// Sessions that can be resumed.
        "tls-session-cache-size" = session_cache_size: u32 = 20_480, Int::range(0, INT_MAX)
            => NO_TLS;
        /// Seconds for which a session can be resumed.
        "tls-session-cache-timeout" = session_cache_timeout_seconds: u32 = 300,
            Int::range(0, INT_MAX) => NO_TLS;
    }
}

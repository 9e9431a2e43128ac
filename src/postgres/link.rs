//! The way to a server: socket, TLS, who we are. What comes out is a session that is ready for statements.

use std::time::Duration;

use md5::{Digest, Md5};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::errors::{Task, judge};
use super::scram::{Scram, end_point};
use super::settings::{ChannelBinding, Host, Keepalive, Session, SslMode, Target};
use super::{tls, wire};
use crate::error::{Error, ErrorKind};

/// Without these, a server that vanished would be noticed after two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 6;

/// More than that before a session is ready is no PostgreSQL server.
const GREETING_BYTES_MAX: usize = 1 << 20;

/// What bytes travel on.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A session that the server has accepted.
pub(super) struct Link {
    pub stream: Box<dyn Stream>,
    /// What the server said of itself, to be said again to the driver: parameters and the key.
    pub greeting: Vec<u8>,
    /// The process that the server names; a pooler names none of the server's.
    pub pid: i32,
    pub key: Vec<u8>,
    pub encrypted: bool,
    in_hot_standby: bool,
    read_only: bool,
}

/// What stood in the way.
pub(super) enum Failure {
    /// The server cannot be reached, or is not one.
    Reach(Error),
    /// The server itself refused, or what it asked for was refused; another way of encryption may do.
    Refused(Error),
}

/// What all messages about one connection need.
pub(super) struct Opening<'a> {
    pub target: &'a Target,
    pub host: &'a Host,
    pub task: Task,
    /// For `pg_stat_activity`.
    pub name: &'a str,
    pub doing: String,
    pub wanted: Session,
}

impl Opening<'_> {
    fn fail(&self, kind: ErrorKind, detail: impl std::fmt::Display, hint: &str) -> Error {
        Error::new(kind, self.doing.clone(), detail).hint(format!("{}{hint}", self.task.left()))
    }

    fn io(&self, error: std::io::Error) -> Failure {
        Failure::Reach(self.fail(ErrorKind::Database, error, "is the server up, and are host and port right?"))
    }

    fn protocol(&self, detail: impl std::fmt::Display) -> Failure {
        Failure::Reach(self.fail(ErrorKind::Database, detail, "check the URL, and whether a PostgreSQL server answers there"))
    }

    fn refuse(&self, detail: impl std::fmt::Display, hint: &str) -> Failure {
        Failure::Refused(self.fail(ErrorKind::Database, detail, hint))
    }

    /// Opens a session in each of the ways that the mode allows, until one is accepted.
    pub async fn open(&self) -> std::result::Result<Link, Error> {
        let ways: &[Encryption] = match self.target.tls.mode {
            _ if self.host.folder().is_some() => &[Encryption::Never],
            SslMode::Disable => &[Encryption::Never],
            SslMode::Allow => &[Encryption::Never, Encryption::Always],
            SslMode::Prefer => &[Encryption::IfOffered, Encryption::Never],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Always],
        };
        let mut first = None;
        for way in ways {
            match self.session(*way).await {
                Ok(link) => return self.suits(link),
                Err(Failure::Reach(error)) => return Err(first.unwrap_or(error)),
                Err(Failure::Refused(error)) => first = Some(first.unwrap_or(error)),
            }
        }
        Err(first.expect("invariant: there is a way"))
    }

    /// Whether it is a server such as `target_session_attrs` asks for. Servers from 14 on say so by themselves.
    fn suits(&self, link: Link) -> std::result::Result<Link, Error> {
        let suits = match self.wanted {
            Session::Any | Session::PreferStandby => true,
            Session::ReadWrite => !link.in_hot_standby && !link.read_only,
            Session::ReadOnly => link.in_hot_standby || link.read_only,
            Session::Primary => !link.in_hot_standby,
            Session::Standby => link.in_hot_standby,
        };
        if suits {
            return Ok(link);
        }
        Err(self.fail(
            ErrorKind::Database,
            "the server is none that target_session_attrs asks for",
            "give the other server's address",
        ))
    }

    async fn session(&self, way: Encryption) -> std::result::Result<Link, Failure> {
        let (mut stream, certificate) = self.stream(way).await?;
        let encrypted = certificate.is_some();
        stream.write_all(&self.startup()).await.map_err(|e| self.io(e))?;
        let mut link =
            Link { stream, greeting: Vec::new(), pid: 0, key: Vec::new(), encrypted, in_hot_standby: false, read_only: false };
        self.authenticate(&mut link, certificate).await?;
        self.greet(&mut link).await?;
        Ok(link)
    }

    /// A connection, encrypted where the way and the server have it so; then with the server's certificate.
    pub async fn stream(&self, way: Encryption) -> std::result::Result<(Box<dyn Stream>, Option<Vec<u8>>), Failure> {
        if let Some(folder) = self.host.folder() {
            let socket = UnixStream::connect(format!("{folder}/.s.PGSQL.{}", self.host.port)).await;
            return Ok((Box::new(socket.map_err(|e| self.io(e))?), None));
        }
        let place = self.host.address.as_deref().unwrap_or(&self.host.name);
        let mut socket = TcpStream::connect((place, self.host.port)).await.map_err(|e| self.io(e))?;
        socket.set_nodelay(true).map_err(|e| self.io(e))?;
        if let Some(keepalive) = &self.target.keepalive {
            keep_alive(&socket, keepalive).map_err(|e| self.io(e))?;
        }
        if way == Encryption::Never {
            return Ok((Box::new(socket), None));
        }
        if !self.target.tls.direct {
            socket.write_all(&wire::request(wire::SSL_REQUEST, &[])).await.map_err(|e| self.io(e))?;
            // One byte and no more: what came behind it unencrypted must not be taken for something that was encrypted.
            match socket.read_u8().await.map_err(|e| self.io(e))? {
                b'S' => {}
                b'N' | b'E' if way == Encryption::IfOffered => return Ok((Box::new(socket), None)),
                b'N' | b'E' => {
                    return Err(
                        self.refuse("the server does not speak TLS", "turn ssl on in the server, or see sslmode in the URL")
                    );
                }
                other => return Err(self.protocol(format!("the answer to a request for TLS is the byte {other}"))),
            }
        }
        let config = tls::config(&self.target.tls).map_err(Failure::Reach)?;
        let name = tls::server_name(self.host, self.target.tls.mode).map_err(Failure::Reach)?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect(name, socket).await.map_err(|e| self.handshake(&e))?;
        if self.target.tls.direct && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(self.refuse("the server does not know sslnegotiation=direct", "it needs PostgreSQL 17 or later"));
        }
        let certificate =
            stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|first| first.as_ref().to_vec());
        Ok((Box::new(stream), Some(certificate.unwrap_or_default())))
    }

    fn handshake(&self, error: &std::io::Error) -> Failure {
        let text = error.to_string();
        let hint = tls::hint(&text);
        let text = text.replace("Other(OtherError(CaUsedAsEndEntity))", "it is self-signed, and not the root certificate itself");
        self.refuse(format!("TLS: {text}"), hint)
    }

    /// Only parameters that poolers take as well: no others are needed, since each transaction sets its own.
    fn startup(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut put = |name: &str, value: &str| {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        };
        put("user", &self.target.user);
        put("database", &self.target.database);
        put("application_name", self.name);
        put("client_encoding", "UTF8");
        put("DateStyle", "ISO, MDY");
        put("TimeZone", "UTC");
        if let Some(options) = &self.target.options {
            put("options", options);
        }
        body.push(0);
        wire::request(wire::VERSION, &body)
    }

    /// Shows who we are, in a way that gives nothing away.
    async fn authenticate(&self, link: &mut Link, certificate: Option<Vec<u8>>) -> std::result::Result<(), Failure> {
        let mut scram: Option<Scram> = None;
        let mut proved = false;
        let mut method = "none";
        let mut is_bound = false;
        loop {
            let (kind, body) = self.read(link).await?;
            if kind == b'N' || kind == b'v' {
                continue;
            }
            let Some((number, data)) = body.split_first_chunk::<4>().filter(|_| kind == b'R') else {
                return Err(self.protocol("it does not ask who we are"));
            };
            let answer = match u32::from_be_bytes(*number) {
                0 => break,
                3 => {
                    method = "password";
                    self.may_show(link, method)?;
                    [self.password()?.as_bytes(), b"\0"].concat()
                }
                5 => {
                    method = "md5";
                    self.may_show(link, method)?;
                    let salt = data.get(..4).ok_or_else(|| self.protocol("its salt is short"))?;
                    hashed(&self.target.user, self.password()?, salt).into_bytes()
                }
                10 => {
                    method = "scram-sha-256";
                    self.allowed(method)?;
                    let (mechanism, begun) = self.begin(data, certificate.as_deref())?;
                    is_bound = mechanism.ends_with("-PLUS");
                    let first = begun.first();
                    scram = Some(begun);
                    let length = u32::try_from(first.len()).expect("invariant: a nonce is short");
                    [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), first.as_bytes()].concat()
                }
                11 => {
                    let challenge = std::str::from_utf8(data).map_err(|_| self.protocol("its challenge is no text"))?;
                    let scram = scram.as_mut().ok_or_else(|| self.protocol("a challenge that nothing began"))?;
                    scram.answer(challenge).map_err(|why| self.protocol(why))?.into_bytes()
                }
                12 => {
                    let last = String::from_utf8_lossy(data);
                    proved = scram.as_ref().is_some_and(|scram| scram.is_proved(&last));
                    if !proved {
                        return Err(
                            self.protocol("the server does not know the password itself: it is not the one it says it is")
                        );
                    }
                    continue;
                }
                number => {
                    let name = match number {
                        2 => "Kerberos 5",
                        7 | 8 => "GSSAPI",
                        9 => "SSPI",
                        _ => "an unknown method",
                    };
                    return Err(self.refuse(
                        format!("the server asks for {name}, which recount does not speak"),
                        "let pg_hba.conf ask for scram-sha-256, or for a certificate",
                    ));
                }
            };
            link.stream.write_all(&wire::message(b'p', &answer)).await.map_err(|e| self.io(e))?;
        }
        if method == "scram-sha-256" && !proved {
            return Err(self.protocol("it took the password without showing that it knows it"));
        }
        if self.target.channel_binding == ChannelBinding::Require && !is_bound {
            return Err(self.refuse(
                "channel_binding=require, but the server did not bind the login to the connection",
                "it needs TLS and a password that the server stores as scram-sha-256",
            ));
        }
        self.allowed(method)
    }

    fn begin(&self, mechanisms: &[u8], certificate: Option<&[u8]>) -> std::result::Result<(&'static str, Scram), Failure> {
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
        let binds = self.target.channel_binding != ChannelBinding::Disable;
        let bound = certificate.filter(|_| binds).and_then(end_point);
        let (mechanism, bound, could) = match bound {
            Some(bound) if offers("SCRAM-SHA-256-PLUS") => ("SCRAM-SHA-256-PLUS", Some(bound), true),
            bound if offers("SCRAM-SHA-256") => ("SCRAM-SHA-256", None, bound.is_some()),
            _ => return Err(self.refuse("the server offers no SCRAM-SHA-256", "let pg_hba.conf ask for scram-sha-256")),
        };
        Scram::new(self.password()?, bound, could).map(|scram| (mechanism, scram)).map_err(|why| self.protocol(why))
    }

    fn password(&self) -> std::result::Result<&str, Failure> {
        let password = self.host.password.as_deref();
        password.ok_or_else(|| {
            self.refuse("the server asks for a password, and there is none", "set PGPASSWORD or ~/.pgpass, or give it in the URL")
        })
    }

    fn allowed(&self, method: &str) -> std::result::Result<(), Failure> {
        match &self.target.methods {
            Some(methods) if !methods.iter().any(|allowed| allowed == method) => {
                Err(self.refuse(format!("the server asks for {method}, which require_auth does not allow"), "see require_auth"))
            }
            _ => Ok(()),
        }
    }

    /// A password that others could read, or a hash that they could use, goes over nothing that they could listen to.
    fn may_show(&self, link: &Link, method: &'static str) -> std::result::Result<(), Failure> {
        self.allowed(method)?;
        if link.encrypted || self.host.is_local() || super::cleartext_password_is_allowed() {
            return Ok(());
        }
        let what = if method == "md5" { "as an MD5 hash" } else { "in clear text" };
        let detail = format!("the server asks for the password {what} over a connection that is not encrypted; it was not sent");
        Err(self.refuse(
            detail,
            "use sslmode=verify-full, or scram-sha-256 on the server; --allow-cleartext-password sends it nevertheless",
        ))
    }

    /// Reads until the session is ready.
    async fn greet(&self, link: &mut Link) -> std::result::Result<(), Failure> {
        loop {
            let (kind, body) = self.read(link).await?;
            match kind {
                b'S' => {
                    let mut texts = body.split(|byte| *byte == 0);
                    match (texts.next(), texts.next()) {
                        (Some(b"in_hot_standby"), Some(value)) => link.in_hot_standby = value == b"on",
                        (Some(b"default_transaction_read_only"), Some(value)) => link.read_only = value == b"on",
                        _ => {}
                    }
                }
                b'K' => {
                    let (pid, key) = body.split_first_chunk::<4>().ok_or_else(|| self.protocol("its key is short"))?;
                    (link.pid, link.key) = (i32::from_be_bytes(*pid), key.to_vec());
                    // The driver wants a key of four bytes; what it would cancel, the relay cancels.
                    link.greeting.extend(wire::message(b'K', &[&pid[..], &[0; 4]].concat()));
                    continue;
                }
                b'Z' => return Ok(()),
                b'N' | b'v' => continue,
                _ => return Err(self.protocol(format!("a message of type {:?} before the session is ready", char::from(kind)))),
            }
            link.greeting.extend(wire::message(kind, &body));
            if link.greeting.len() > GREETING_BYTES_MAX {
                return Err(self.protocol("it talks without end"));
            }
        }
    }

    /// The next message; an error of the server becomes ours.
    async fn read(&self, link: &mut Link) -> std::result::Result<(u8, Vec<u8>), Failure> {
        let mut header = [0; wire::HEADER_BYTES];
        link.stream.read_exact(&mut header).await.map_err(|e| self.io(e))?;
        let length = wire::body_bytes(header).map_err(|why| self.protocol(why))?;
        if length > GREETING_BYTES_MAX {
            return Err(self.protocol("its first message is longer than any can be"));
        }
        let mut body = vec![0; length];
        link.stream.read_exact(&mut body).await.map_err(|e| self.io(e))?;
        if header[0] != b'E' {
            return Ok((header[0], body));
        }
        let code = wire::field(&body, b'C').unwrap_or_default();
        let text = wire::field(&body, b'M').unwrap_or_default();
        let (_, hint) = judge(self.task, &code);
        let hint = if hint.starts_with("the server refused a statement") { "the server refused the connection" } else { hint };
        Err(self.refuse(text.split_whitespace().collect::<Vec<_>>().join(" "), hint))
    }
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Never,
    IfOffered,
    Always,
}

fn keep_alive(socket: &TcpStream, keepalive: &Keepalive) -> std::io::Result<()> {
    let settings = TcpKeepalive::new()
        .with_time(keepalive.idle.unwrap_or(KEEPALIVE_IDLE))
        .with_interval(keepalive.interval.unwrap_or(KEEPALIVE_INTERVAL))
        .with_retries(keepalive.count.unwrap_or(KEEPALIVE_COUNT));
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&settings)?;
    match keepalive.user_timeout {
        Some(timeout) => socket.set_tcp_user_timeout(Some(timeout)),
        None => Ok(()),
    }
}

/// PostgreSQL's own use of MD5, with its final zero.
fn hashed(user: &str, password: &str, salt: &[u8]) -> String {
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let inner = hex(&Md5::new().chain_update(password).chain_update(user).finalize());
    format!("md5{}\0", hex(&Md5::new().chain_update(inner).chain_update(salt).finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_as_the_server_hashes_it() {
        // As psql has it: SELECT 'md5' || md5(md5('secret' || 'ann') || 'salt').
        assert_eq!(hashed("ann", "secret", b"salt"), "md5b8f5ba9f485dba302ec0963f7ee9ba8f\0");
    }
}

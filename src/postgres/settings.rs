//! A database to connect to: all that the URL, its service, the environment and the password file say, checked once.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::{Environment, user_name};
use super::parameters::Parameters;
use super::url;
use crate::error::Result;

/// Where servers listen if nobody says otherwise: Debian's place, and the one PostgreSQL itself was built with.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const PORT: u16 = 5432;
/// libpq waits without end; a job at night must not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT_MIN_SECONDS: i64 = 2;

/// When the connection is encrypted, and what is checked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// Which server of a list will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// Whom the server's certificate has to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// The authorities that the machine trusts.
    System,
    File(PathBuf),
    /// Nothing is checked.
    Nobody,
}

#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub mode: SslMode,
    pub roots: Roots,
    /// Certificate chain and key of the client.
    pub client: Option<(PathBuf, PathBuf)>,
    pub sends_name: bool,
    /// TLS from the first byte, without PostgreSQL's own question before it.
    pub direct: bool,
    /// Versions of TLS, as 12 and 13.
    pub versions: (u8, u8),
}

#[derive(Debug, Clone)]
pub(super) struct Keepalive {
    pub idle: Option<Duration>,
    pub interval: Option<Duration>,
    pub count: Option<u32>,
    pub user_timeout: Option<Duration>,
}

/// One server of the list.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// As the user wrote it: a name, an address, or the folder of a socket.
    pub name: String,
    /// An address that stands for the name.
    pub address: Option<String>,
    pub port: u16,
    pub password: Option<String>,
}

impl Host {
    /// The folder of a Unix socket.
    pub fn folder(&self) -> Option<&str> {
        (self.address.is_none() && self.name.starts_with('/')).then_some(self.name.as_str())
    }

    /// Where nobody can listen in: a socket, or this machine's own loopback.
    pub fn is_local(&self) -> bool {
        let place = self.address.as_deref().unwrap_or(&self.name);
        self.folder().is_some() || place == "localhost" || place.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// A database to connect to.
#[derive(Clone)]
pub struct Target {
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) tls: Tls,
    pub(super) channel_binding: ChannelBinding,
    /// Methods that the server may ask for; `None`: any.
    pub(super) methods: Option<Vec<String>>,
    pub(super) session: Session,
    pub(super) options: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalive: Option<Keepalive>,
    /// The URL without password and parameters.
    pub shown: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.shown)
    }
}

impl Target {
    /// Reads a URL, and what libpq reads beside it. Fails on parameters that do not exist, that contradict each other, or that recount
    /// cannot serve; no message repeats a password.
    pub fn parse(url: &str) -> Result<Target> {
        Target::read(url, &Environment::of_process())
    }

    /// All its servers are on this machine.
    pub fn is_local(&self) -> bool {
        self.hosts.iter().all(Host::is_local)
    }

    /// Without TLS, no connection comes about.
    pub fn needs_tls(&self) -> bool {
        self.tls.mode >= SslMode::Require
    }

    /// Nobody else can be taken for the server.
    pub fn knows_the_server(&self) -> bool {
        self.tls.mode == SslMode::VerifyFull
    }

    pub(super) fn read(url: &str, environment: &Environment) -> Result<Target> {
        let mut parameters = url::parse(url)?;
        if let Some(password) = super::PASSWORD.get() {
            parameters.offer("password", password.clone(), "--password-file");
        }
        environment.complete(&mut parameters)?;
        parameters.check()?;
        let user = match parameters.get("user") {
            Some(user) => user.to_owned(),
            None => user_name().ok_or_else(|| parameters.wrong("user", "none is given, and the system has no name for you"))?,
        };
        let database = parameters.get("dbname").unwrap_or(&user).to_owned();
        let mut hosts = hosts(&parameters)?;
        for host in &mut hosts {
            let place =
                if host.folder().is_some_and(|folder| SOCKET_FOLDERS.contains(&folder)) { "localhost" } else { &host.name };
            host.password = parameters
                .get("password")
                .map(str::to_owned)
                .or_else(|| environment.password(parameters.get("passfile"), place, host.port, &database, &user));
        }
        let shown = shown(&hosts, &user, &database);
        Ok(Target {
            hosts,
            user,
            database,
            tls: tls(&parameters, environment)?,
            channel_binding: parameters.word(
                "channel_binding",
                &[("disable", ChannelBinding::Disable), ("prefer", ChannelBinding::Prefer), ("require", ChannelBinding::Require)],
                ChannelBinding::Prefer,
            )?,
            methods: methods(&parameters)?,
            session: parameters.word(
                "target_session_attrs",
                &[
                    ("any", Session::Any),
                    ("read-write", Session::ReadWrite),
                    ("read-only", Session::ReadOnly),
                    ("primary", Session::Primary),
                    ("standby", Session::Standby),
                    ("prefer-standby", Session::PreferStandby),
                ],
                Session::Any,
            )?,
            options: parameters.get("options").map(str::to_owned),
            connect_timeout: match parameters.number("connect_timeout")? {
                None => Some(CONNECT_TIMEOUT),
                Some(seconds) if seconds <= 0 => None,
                Some(seconds) => Some(Duration::from_secs(seconds.max(CONNECT_TIMEOUT_MIN_SECONDS).unsigned_abs())),
            },
            keepalive: keepalive(&parameters)?,
            shown,
        })
    }
}

/// The lists of hosts, addresses and ports, one server each.
fn hosts(parameters: &Parameters) -> Result<Vec<Host>> {
    let list = |name: &str| -> Vec<String> {
        parameters.get(name).map_or(Vec::new(), |value| value.split(',').map(|part| part.trim().to_owned()).collect())
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = names.len().max(addresses.len()).max(1);
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(parameters.wrong("hostaddr", &format!("{} addresses for {} hosts", addresses.len(), names.len())));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(parameters.wrong("port", &format!("{} ports for {count} hosts", ports.len())));
    }
    let mut hosts = Vec::new();
    for at in 0..count {
        let port = match ports.get(if ports.len() == 1 { 0 } else { at }).filter(|port| !port.is_empty()) {
            Some(port) => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| parameters.wrong("port", "invalid port number"))?
            }
            None => PORT,
        };
        let address = addresses.get(at).filter(|address| !address.is_empty()).cloned();
        if address.as_ref().is_some_and(|address| address.parse::<std::net::IpAddr>().is_err()) {
            return Err(parameters.wrong("hostaddr", "expected an IP address"));
        }
        let name = names.get(at).filter(|name| !name.is_empty()).cloned();
        let name = name.or_else(|| address.clone()).unwrap_or_else(|| default_host(port));
        hosts.push(Host { name, address, port, password: None });
    }
    if parameters.word("load_balance_hosts", &[("disable", false), ("random", true)], false)? {
        // Which server comes first need not be unpredictable, only spread.
        let first = std::process::id() as usize % hosts.len();
        hosts.rotate_left(first);
    }
    Ok(hosts)
}

/// A socket where a server listens on one, as libpq has it; else this machine by TCP.
fn default_host(port: u16) -> String {
    let listens = |folder: &&str| PathBuf::from(format!("{folder}/.s.PGSQL.{port}")).exists();
    SOCKET_FOLDERS.iter().find(|folder| listens(folder)).map_or("localhost", |folder| folder).to_owned()
}

fn shown(hosts: &[Host], user: &str, database: &str) -> String {
    let place = |host: &Host| match host.name.contains(':') {
        true => format!("[{}]:{}", host.name, host.port),
        false => format!("{}:{}", host.name, host.port),
    };
    format!("postgres://{user}@{}/{database}", hosts.iter().map(place).collect::<Vec<_>>().join(","))
}

fn tls(parameters: &Parameters, environment: &Environment) -> Result<Tls> {
    let modes = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let system = parameters.get("sslrootcert") == Some("system");
    let mode = parameters.word("sslmode", &modes, if system { SslMode::VerifyFull } else { SslMode::Prefer })?;
    if system && mode < SslMode::VerifyFull {
        return Err(parameters
            .wrong("sslrootcert", "\"system\" needs sslmode=verify-full: anyone can have a certificate for another name"));
    }
    let folder = environment.home.as_ref().map(|home| home.join(".postgresql"));
    let usual = |name: &str| folder.as_ref().map(|folder| folder.join(name)).filter(|file| file.exists());
    let root = parameters.get("sslrootcert").map(PathBuf::from).or_else(|| usual("root.crt"));
    let roots = match (mode, root) {
        (SslMode::VerifyFull, _) if system => Roots::System,
        // As libpq: with a root certificate at hand, `require` checks it, which is what `verify-ca` does.
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, Some(file)) => Roots::File(file),
        (SslMode::VerifyFull, None) => Roots::System,
        (SslMode::VerifyCa, None) => {
            return Err(
                parameters.wrong("sslmode", "verify-ca needs sslrootcert, the certificate of the authority that is trusted")
            );
        }
        _ => Roots::Nobody,
    };
    let client = match (parameters.get("sslcert").map(PathBuf::from), parameters.get("sslkey").map(PathBuf::from)) {
        _ if parameters.get("sslcertmode") == Some("disable") => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        (Some(cert), None) => {
            Some((cert, usual("postgresql.key").ok_or_else(|| parameters.wrong("sslcert", "sslkey is missing"))?))
        }
        (None, Some(key)) => usual("postgresql.crt").map(|cert| (cert, key)),
        (None, None) => usual("postgresql.crt").zip(usual("postgresql.key")),
    };
    let versions = [("TLSv1", 12), ("TLSv1.1", 12), ("TLSv1.2", 12), ("TLSv1.3", 13)];
    let versions = (
        parameters.word("ssl_min_protocol_version", &versions, 12)?,
        parameters.word("ssl_max_protocol_version", &versions[2..], 13)?,
    );
    if versions.0 > versions.1 {
        return Err(parameters.wrong("ssl_min_protocol_version", "it is above ssl_max_protocol_version"));
    }
    let direct = parameters.word("sslnegotiation", &[("postgres", false), ("direct", true)], false)?;
    if direct && mode < SslMode::Require {
        return Err(parameters.wrong("sslnegotiation", "direct needs sslmode=require or stronger"));
    }
    Ok(Tls { mode, roots, client, sends_name: parameters.word("sslsni", &[("0", false), ("1", true)], true)?, direct, versions })
}

/// The methods of `require_auth`: names, or names that are excluded by a `!`.
fn methods(parameters: &Parameters) -> Result<Option<Vec<String>>> {
    const METHODS: [&str; 4] = ["password", "md5", "scram-sha-256", "none"];
    const UNSPOKEN: [&str; 3] = ["gss", "sspi", "oauth"];
    let Some(list) = parameters.get("require_auth") else { return Ok(None) };
    let words: Vec<&str> = list.split(',').map(str::trim).collect();
    let excluded = words.iter().filter(|word| word.starts_with('!')).count();
    let names: Vec<&str> = words.iter().map(|word| word.trim_start_matches('!')).collect();
    if (excluded != 0 && excluded != words.len()) || names.iter().any(|name| !METHODS.contains(name) && !UNSPOKEN.contains(name))
    {
        return Err(parameters.wrong("require_auth", "expected names such as scram-sha-256, or all of them with a ! before"));
    }
    let wanted = METHODS.iter().filter(|method| names.contains(method) == (excluded == 0));
    Ok(Some(wanted.map(|method| (*method).to_owned()).collect()))
}

fn keepalive(parameters: &Parameters) -> Result<Option<Keepalive>> {
    if parameters.number("keepalives")? == Some(0) {
        return Ok(None);
    }
    let seconds = |name: &str| -> Result<Option<Duration>> {
        Ok(parameters.number(name)?.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.unsigned_abs())))
    };
    let count = parameters.number("keepalives_count")?.filter(|count| *count > 0);
    let milliseconds = parameters.number("tcp_user_timeout")?.filter(|milliseconds| *milliseconds > 0);
    Ok(Some(Keepalive {
        idle: seconds("keepalives_idle")?,
        interval: seconds("keepalives_interval")?,
        count: count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        user_timeout: milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.unsigned_abs())),
    }))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

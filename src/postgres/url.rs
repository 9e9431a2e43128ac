//! A connection URL, read as libpq reads it: `postgres://user:password@host:port,host:port/database?name=value`.

use super::parameters::{Parameters, known, likely};
use crate::error::{Error, ErrorKind, Result};

pub(super) const URL_HINT: &str =
    "expected postgres://user:password@host:port/database; in a password, characters like @ : / ? # % must be percent-encoded";
const FROM: &str = "the database URL";

/// The parameters that a URL gives. No message repeats a part of the URL that may be of a password.
pub(super) fn parse(url: &str) -> Result<Parameters> {
    read(url).map_err(|detail| Error::new(ErrorKind::Usage, format!("reading {FROM}"), detail).hint(URL_HINT))
}

fn read(url: &str) -> std::result::Result<Parameters, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no ://")?;
    if !["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err("it does not begin with postgres:// or postgresql://".to_owned());
    }
    if rest.contains('#') {
        return Err("there is a # in it".to_owned());
    }
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = Parameters::default();
    let (authority, path) = base.split_once('/').unwrap_or((base, ""));
    // A `/` or `?` in a password ends the part of the URL where it belongs, and the rest lands in the path.
    if path.contains('@') {
        return Err("there is an @ behind the host".to_owned());
    }
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
    let mut put = |name, value: &str| decoded(value).map(|value| parameters.replace(name, value, FROM));
    if !user.is_empty() {
        put("user", user)?;
    }
    if let Some(password) = password {
        put("password", password)?;
    }
    if !path.is_empty() {
        put("dbname", path)?;
    }
    let (hosts, ports) = places(hosts)?;
    if hosts.iter().any(|host| !host.is_empty()) {
        put("host", &hosts.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        put("port", &ports.join(","))?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        parameter(pair, base.contains('/') || base.is_empty(), &mut parameters)?;
    }
    Ok(parameters)
}

/// Hosts and ports of the list; an IPv6 address stands in brackets.
fn places(list: &str) -> std::result::Result<(Vec<&str>, Vec<&str>), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for place in list.split(',') {
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("a [ without a ]")?;
                (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")).ok_or("invalid port number")?)
            }
            None => place.split_once(':').unwrap_or((place, "")),
        };
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err("invalid port number".to_owned());
        }
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts, ports))
}

/// `whole`: the part before the `?` is whole, so what stands behind it is no part of a password.
fn parameter(pair: &str, whole: bool, parameters: &mut Parameters) -> std::result::Result<(), String> {
    const FORM: &str = "its parameters are not of the form name=value";
    let (name, value) = pair.split_once('=').ok_or(FORM)?;
    let (name, value) = (decoded(name)?, decoded(value)?);
    // `options[search_path]=x` is a spelling of sqlx and of drivers of other languages.
    if let Some(setting) = name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')) {
        let before = parameters.get("options").map_or(String::new(), |before| format!("{before} "));
        let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
        parameters.replace("options", format!("{before}-c {setting}={value}"), FROM);
        return Ok(());
    }
    if name == "ssl" && value == "true" {
        parameters.replace("sslmode", "require".to_owned(), FROM);
        return Ok(());
    }
    if name == "statement-cache-capacity" {
        return Ok(());
    }
    match known(&name) {
        Some(name) => parameters.replace(name, value, FROM),
        // A name with odd characters may be a part of a password: it is not repeated.
        None if whole && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
            let guess = likely(&name).map_or(String::new(), |near| format!("; did you mean {near}?"));
            return Err(format!("no such parameter: {name}{guess}"));
        }
        None => return Err(FORM.to_owned()),
    }
    Ok(())
}

fn decoded(text: &str) -> std::result::Result<String, String> {
    const WRONG: &str = "a % is not followed by two hexadecimal digits";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(WRONG)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG.to_owned());
        }
        match u8::from_str_radix(digits, 16).map_err(|_| WRONG)? {
            0 => return Err("a %00, which no name or password can have".to_owned()),
            byte => bytes.push(byte),
        }
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "what is percent-encoded is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str) -> String {
        let read = parse(url).unwrap();
        let names = ["user", "password", "host", "port", "dbname", "sslmode", "options"];
        let told = names.iter().filter_map(|name| read.get(name).map(|value| format!("{name}={value}")));
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        for (url, parts) in [
            ("postgres://ann:p%40ss@db:5433/v", "user=ann password=p@ss host=db port=5433 dbname=v"),
            ("postgresql://[::1]:5433/v", "host=::1 port=5433 dbname=v"),
            ("postgresql://ann@[2001:db8::7]/v", "user=ann host=2001:db8::7 dbname=v"),
            ("postgres:///v?host=/run/pg&port=1", "host=/run/pg port=1 dbname=v"),
            ("postgres://%2Frun%2Fpg/v", "host=/run/pg dbname=v"),
            ("postgresql://ann@/v", "user=ann dbname=v"),
            ("postgres://a:1,b:2/v", "host=a,b port=1,2 dbname=v"),
            ("postgres://", ""),
            ("postgres://h/v?user=u&password=p&dbname=w", "user=u password=p host=h dbname=w"),
            ("postgres://h?ssl=true", "host=h sslmode=require"),
            ("postgres://h/v?options=-c%20geqo%3Doff&options[x]=a b", "host=h dbname=v options=-c geqo=off -c x=a\\ b"),
            ("postgres://h/v?options=endpoint%3Dep-1", "host=h dbname=v options=endpoint=ep-1"),
        ] {
            assert_eq!(told(url), parts, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in
            ["postgres:/h", "mysql://h/v", "postgres://[::1/v", "postgres://h:1:2/v", "postgres://h/%zz", "postgres://h/%00"]
        {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}

//! The parameters of a connection by their libpq names: which there are, and what becomes of each.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

/// What recount does with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Read in [`super::settings`].
    Read,
    /// Without effect here: it is about what recount never does, as GSSAPI, or decides by itself.
    Idle,
    /// Only these values can be served.
    Only(&'static [&'static str], &'static str),
}

use Use::{Idle, Only, Read};

/// All parameters of libpq 18, with the environment variable that stands for each.
#[rustfmt::skip]
const PARAMETERS: &[(&str, Option<&str>, Use)] = &[
    ("host", Some("PGHOST"), Read),
    ("hostaddr", Some("PGHOSTADDR"), Read),
    ("port", Some("PGPORT"), Read),
    ("dbname", Some("PGDATABASE"), Read),
    ("user", Some("PGUSER"), Read),
    ("password", Some("PGPASSWORD"), Read),
    ("passfile", Some("PGPASSFILE"), Read),
    ("service", Some("PGSERVICE"), Read),
    ("servicefile", Some("PGSERVICEFILE"), Read),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT"), Read),
    ("options", Some("PGOPTIONS"), Read),
    ("sslmode", Some("PGSSLMODE"), Read),
    ("sslrootcert", Some("PGSSLROOTCERT"), Read),
    ("sslcert", Some("PGSSLCERT"), Read),
    ("sslkey", Some("PGSSLKEY"), Read),
    ("sslsni", Some("PGSSLSNI"), Read),
    ("sslnegotiation", Some("PGSSLNEGOTIATION"), Read),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), Read),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), Read),
    ("channel_binding", Some("PGCHANNELBINDING"), Read),
    ("require_auth", Some("PGREQUIREAUTH"), Read),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Read),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Read),
    ("keepalives", None, Read),
    ("keepalives_idle", None, Read),
    ("keepalives_interval", None, Read),
    ("keepalives_count", None, Read),
    ("tcp_user_timeout", None, Read),
    ("application_name", Some("PGAPPNAME"), Idle),
    ("fallback_application_name", None, Idle),
    ("client_encoding", Some("PGCLIENTENCODING"), Idle),
    ("krbsrvname", Some("PGKRBSRVNAME"), Idle),
    ("gsslib", Some("PGGSSLIB"), Idle),
    ("gssdelegation", Some("PGGSSDELEGATION"), Idle),
    ("sslcompression", Some("PGSSLCOMPRESSION"), Idle),
    ("sslcertmode", Some("PGSSLCERTMODE"), Only(&["allow", "disable"], "a client certificate is sent where one is given")),
    ("gssencmode", Some("PGGSSENCMODE"), Only(&["disable", "prefer"], "GSSAPI is not spoken; use TLS (sslmode)")),
    ("replication", None, Only(&["false", "off", "no", "0"], "recount reads tables, not the replication stream")),
    ("requiressl", Some("PGREQUIRESSL"), Only(&["0"], "use sslmode=require")),
    ("requirepeer", Some("PGREQUIREPEER"), Only(&[""], "the owner of a socket is not checked")),
    ("sslpassword", None, Only(&[""], "a key with a passphrase cannot be read; give one without")),
    ("sslcrl", Some("PGSSLCRL"), Only(&[""], "lists of revoked certificates are not read")),
    ("sslcrldir", Some("PGSSLCRLDIR"), Only(&[""], "lists of revoked certificates are not read")),
    ("sslkeylogfile", None, Only(&[""], "keys are never written down")),
    ("min_protocol_version", None, Only(&["3.0"], "recount speaks version 3.0")),
    ("max_protocol_version", None, Only(&["3.0", "3.2", "latest"], "recount speaks version 3.0")),
    ("scram_client_key", None, Only(&[""], "give a password")),
    ("scram_server_key", None, Only(&[""], "give a password")),
    ("oauth_issuer", None, Only(&[""], "OAuth is not spoken; give a password or a certificate")),
    ("oauth_client_id", None, Only(&[""], "OAuth is not spoken; give a password or a certificate")),
    ("oauth_client_secret", None, Only(&[""], "OAuth is not spoken; give a password or a certificate")),
    ("oauth_scope", None, Only(&[""], "OAuth is not spoken; give a password or a certificate")),
];

/// Other spellings that URLs have.
const ALIASES: &[(&str, &str)] = &[
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];

/// Parameters by name, with where each came from: a later, weaker source never replaces a value.
#[derive(Clone, Default)]
pub(super) struct Parameters(BTreeMap<&'static str, (String, String)>);

impl Parameters {
    /// The value, unless it is empty: libpq takes an empty value for none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Takes a value where none is known yet. `from` is the place as an error names it.
    pub fn offer(&mut self, name: &'static str, value: String, from: &str) {
        self.0.entry(name).or_insert_with(|| (value, from.to_owned()));
    }

    /// Takes a value in the place of an earlier one: within one URL the last value stands.
    pub fn replace(&mut self, name: &'static str, value: String, from: &str) {
        self.0.insert(name, (value, from.to_owned()));
    }

    /// An error about the value of a parameter. The value is repeated only where it cannot be a secret.
    pub fn wrong(&self, name: &str, detail: &str) -> Error {
        let from = self.0.get(name).map_or("the database URL", |(_, from)| from);
        Error::new(ErrorKind::Usage, format!("reading {from}"), format!("{name}: {detail}"))
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T) -> Result<T> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, found)| *found);
        found.ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let guess = nearest(value, known.iter().copied()).map_or(String::new(), |word| format!("; did you mean {word}?"));
            self.wrong(name, &format!("expected one of {}{guess}", known.join(", ")))
        })
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.trim().parse().map(Some).map_err(|_| self.wrong(name, "expected a whole number"))
    }

    /// Refuses values that cannot be served.
    pub fn check(&self) -> Result<()> {
        for (name, _, meaning) in PARAMETERS {
            let (Only(served, why), Some(value)) = (meaning, self.get(name)) else { continue };
            if !served.contains(&value) {
                return Err(self.wrong(name, &format!("this value cannot be served: {why}")));
            }
        }
        Ok(())
    }
}

/// The parameter of this name, under the name that libpq has for it.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    PARAMETERS.iter().map(|(known, ..)| *known).find(|known| *known == name)
}

/// What a misspelt parameter may have meant.
pub(super) fn likely(name: &str) -> Option<&'static str> {
    nearest(name, PARAMETERS.iter().map(|(known, ..)| *known))
}

/// The environment variables and the parameters that they stand for.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    PARAMETERS.iter().filter_map(|(name, variable, _)| variable.map(|variable| (variable, *name)))
}

/// The known word that is at most a third of its letters away.
fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let near = known.map(|other| (distance(word, other), other)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// Levenshtein's distance, by bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let cost = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_parameter_finds_its_neighbour() {
        assert_eq!(likely("sslmod"), Some("sslmode"));
        assert_eq!(likely("pasword"), Some("password"));
        assert_eq!(likely("conect_timeout"), Some("connect_timeout"));
        assert_eq!(likely("pool_mode_of_the_year"), None);
        assert_eq!(known("ssl-root-cert"), Some("sslrootcert"));
        assert_eq!(known("sslmod"), None);
    }

    #[test]
    fn a_value_that_cannot_be_served_is_refused_by_name() {
        let mut parameters = Parameters::default();
        parameters.replace("gssencmode", "disable".to_owned(), "the database URL");
        assert!(parameters.check().is_ok());
        parameters.replace("gssencmode", "require".to_owned(), "the database URL");
        let told = parameters.check().unwrap_err().to_string();
        assert_eq!(
            told,
            "reading the database URL: gssencmode: this value cannot be served: GSSAPI is not spoken; use TLS (sslmode)"
        );
    }
}

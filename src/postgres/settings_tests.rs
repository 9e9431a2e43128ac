//! Settings of a connection from every place that libpq reads.

use super::*;
use crate::error::ErrorKind;
use crate::postgres::url::URL_HINT;

fn read(url: &str, variables: &'static [(&str, &str)]) -> Result<Target> {
    let variable = move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Target::read(url, &Environment { variable: Box::new(variable), home: None })
}

fn told(url: &str, variables: &'static [(&str, &str)]) -> String {
    read(url, variables).unwrap_err().to_string()
}

#[test]
fn what_is_shown_has_no_password_and_no_parameters() {
    let shown = |url| read(url, &[]).unwrap().shown;
    let url = "postgres://ann:secret@db.example:5433/validator?sslmode=disable&password=other";
    assert_eq!(shown(url), "postgres://ann@db.example:5433/validator");
    assert_eq!(shown("postgresql://ann:secret@%2Frun%2Fpg:5433/v"), "postgres://ann@/run/pg:5433/v");
    assert_eq!(shown("postgres://ann@[::1]/v"), "postgres://ann@[::1]:5432/v");
    assert_eq!(format!("{:?}", read(url, &[]).unwrap()), "Target(postgres://ann@db.example:5433/validator)");
}

#[test]
fn a_wrong_url_is_refused_without_repeating_it() {
    for url in [
        "postgres://ann:sec#ret@host/db",
        "postgres://ann:12/secret@host/db",
        "postgres://ann:12?secret@host/db",
        "postgres://ann:secret?x@host/db",
        "postgres://ann:secret@host:port/db",
        "postgres://ann:secret@host/db?pasword=secret",
        "postgres://[secret/db",
    ] {
        let error = read(url, &[]).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Usage, Some(URL_HINT)));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = told("postgres://ann:secret@host/db?sslmode=secretly", &[]);
    assert!(!error.contains("secret"), "{error}");
    insta::assert_snapshot!(
        told("postgres://host/db?pasword=x", &[]),
        @"reading the database URL: no such parameter: pasword; did you mean password?"
    );
    insta::assert_snapshot!(told("postgres://ann:x@host:port/db", &[]), @"reading the database URL: invalid port number");
}

#[test]
fn a_misspelt_mode_is_refused_wherever_it_stands() {
    let expected = "sslmode: expected one of disable, allow, prefer, require, verify-ca, verify-full; did you mean verify-full?";
    assert_eq!(told("postgres://h/v?sslmode=verify-ful", &[]), format!("reading the database URL: {expected}"));
    assert_eq!(told("postgres://h/v", &[("PGSSLMODE", "verify-ful")]), format!("reading PGSSLMODE: {expected}"));
    let error = told("postgres://h/v?sslmod=verify-full", &[]);
    assert_eq!(error, "reading the database URL: no such parameter: sslmod; did you mean sslmode?");
}

#[test]
fn parameters_of_cloud_urls_are_served() {
    for parameters in [
        "sslmode=require&channel_binding=require",
        "sslmode=prefer&channel_binding=prefer",
        "connect_timeout=5&application_name=x&client_encoding=utf8",
        "target_session_attrs=read-write",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=20000",
        "gssencmode=disable&sslcompression=0&krbsrvname=postgres",
        "options=-c%20statement_timeout%3D0",
        "passfile=/nowhere",
        "sslmode=verify-full&sslrootcert=system&sslnegotiation=direct&ssl_min_protocol_version=TLSv1.2",
        "require_auth=scram-sha-256",
    ] {
        assert!(read(&format!("postgres://ann@h/v?{parameters}"), &[]).is_ok(), "{parameters}");
    }
}

#[test]
fn the_root_decides_what_is_checked() {
    let roots =
        |parameters: &str| read(&format!("postgres://h/v?{parameters}"), &[]).map(|target| (target.tls.mode, target.tls.roots));
    assert_eq!(roots("").unwrap(), (SslMode::Prefer, Roots::Nobody));
    assert_eq!(roots("sslmode=require").unwrap(), (SslMode::Require, Roots::Nobody));
    assert_eq!(roots("sslmode=require&sslrootcert=/r").unwrap(), (SslMode::Require, Roots::File("/r".into())));
    assert_eq!(roots("sslmode=verify-full").unwrap(), (SslMode::VerifyFull, Roots::System));
    assert_eq!(roots("sslrootcert=system").unwrap(), (SslMode::VerifyFull, Roots::System));
    assert!(roots("sslmode=verify-ca").is_err());
    assert!(roots("sslmode=require&sslrootcert=system").is_err());
}

#[test]
fn lists_of_hosts_have_a_port_each_or_one_for_all() {
    let hosts =
        |url| read(url, &[]).map(|target| target.hosts.iter().map(|host| (host.name.clone(), host.port)).collect::<Vec<_>>());
    assert_eq!(hosts("postgres://a:1,b/v").unwrap(), [("a".to_owned(), 1), ("b".to_owned(), 5432)]);
    assert_eq!(hosts("postgres:///v?host=a,b&port=7").unwrap(), [("a".to_owned(), 7), ("b".to_owned(), 7)]);
    assert!(hosts("postgres:///v?host=a,b,c&port=7,8").is_err());
}

#[test]
fn without_a_user_it_is_the_one_who_runs_it() {
    let target = read("postgres://h/v", &[]).unwrap();
    assert_eq!(Some(target.user), crate::postgres::environment::user_name());
    assert_eq!(read("postgres://h/v", &[("PGUSER", "bob")]).unwrap().user, "bob");
    assert_eq!(read("postgres://h", &[("PGUSER", "bob")]).unwrap().database, "bob");
}

#[test]
fn a_local_place_is_a_socket_or_the_loopback() {
    let local = |url| read(url, &[]).unwrap().hosts[0].is_local();
    for url in ["postgres://localhost/v", "postgres://127.0.0.2/v", "postgres://[::1]/v", "postgres://%2Frun/v"] {
        assert!(local(url), "{url}");
    }
    for url in ["postgres://db/v", "postgres://10.0.0.1/v", "postgres://localhost/v?hostaddr=10.0.0.1"] {
        assert!(!local(url), "{url}");
    }
}

//! Every mode of TLS against certificates that are right, of another authority, for another name, expired, self-signed; and certificates
//! of the client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::cluster::{Cluster, PASSWORD};
use crate::support::{Run, recount};

/// A server with TLS, and the certificates around it. Each server certificate has the same key.
struct Server {
    cluster: Cluster,
    folder: PathBuf,
}

fn openssl(folder: &Path, line: &str) {
    let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {line}\n{}", String::from_utf8_lossy(&done.stderr));
}

const NEW: &str = "-newkey rsa:2048 -nodes";

/// A certificate by an authority; `days`: how long it is valid.
fn signed(folder: &Path, name: &str, subject: &str, authority: &str, validity: &str, extension: &str) {
    openssl(folder, &format!("req {NEW} -keyout {name}.key -out {name}.csr -subj /CN={subject}"));
    std::fs::write(folder.join(format!("{name}.ext")), extension).unwrap();
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -out {name}.crt {validity} -extfile {name}.ext"
        ),
    );
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let cluster = Cluster::start();
        let folder = cluster.folder().join("tls");
        std::fs::create_dir(&folder).unwrap();
        for authority in ["ca", "other"] {
            openssl(
                &folder,
                &format!("req -x509 {NEW} -keyout {authority}.key -out {authority}.crt -subj /CN={authority} -days 3"),
            );
        }
        let local = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        signed(&folder, "right", "localhost", "ca", "-days 3", local);
        signed(&folder, "elsewhere", "db.example", "ca", "-days 3", "subjectAltName=DNS:db.example");
        signed(&folder, "expired", "localhost", "ca", "-days -1", local);
        signed(&folder, "client", "validator", "ca", "-days 3", "extendedKeyUsage=clientAuth");
        openssl(
            &folder,
            &format!("req -x509 {NEW} -keyout selfmade.key -out selfmade.crt -subj /CN=localhost -addext {local} -days 3"),
        );
        give_to_server(&folder);
        let hba = "local all all trust\nhostssl certified all 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 scram-sha-256\n";
        let data = cluster.folder().join("data");
        std::fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let server = Server { cluster, folder };
        let ca = server.folder.join("ca.crt");
        server.execute(&format!("ALTER SYSTEM SET ssl_ca_file = '{}'", ca.display()));
        server.execute("CREATE DATABASE certified");
        server
    })
}

/// The server's user reads the keys; nobody else may.
fn give_to_server(folder: &Path) {
    let keys = "chmod 600 *.key; cp client.key mine.key; [ \"$(id -u)\" != 0 ] || chown postgres *.key; \
                [ \"$(id -u)\" != 0 ] || chown root mine.key";
    assert!(Command::new("sh").args(["-c", keys]).current_dir(folder).status().unwrap().success());
}

impl Server {
    fn execute(&self, sql: &str) {
        crate::support::execute_on(&self.cluster, "postgres", sql);
    }

    /// Lets the server have this certificate, or none.
    fn has(&self, certificate: &str) {
        let (on, name) = if certificate.is_empty() { ("off", "right") } else { ("on", certificate) };
        for (setting, value) in [
            ("ssl_cert_file", self.folder.join(format!("{name}.crt")).display().to_string()),
            ("ssl_key_file", self.folder.join(format!("{name}.key")).display().to_string()),
            ("ssl", on.to_owned()),
        ] {
            self.execute(&format!("ALTER SYSTEM SET {setting} = '{value}'"));
        }
        self.cluster.stop("fast");
        self.cluster.start_again();
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn asks(&self, host: &str, database: &str, parameters: &str) -> Run {
        let url = format!("postgres://validator:{PASSWORD}@{host}:{}/{database}?{parameters}", self.cluster.port());
        let run = recount(["migrate", "status", "--database-url", &url]).run();
        assert!(!run.stderr.contains(PASSWORD), "{run}");
        run
    }
}

/// Parameters, and what is said of them where they don't connect.
type Case = (String, Option<&'static str>);

/// What a mode does with a server certificate: whether it connects, or a part of what it says.
#[test]
fn modes_and_certificates() {
    let server = server();
    let (ca, other, selfmade) = (server.file("ca.crt"), server.file("other.crt"), server.file("selfmade.crt"));
    let table: &[(&str, &[Case])] = &[
        (
            "",
            &[
                ("sslmode=disable".to_owned(), None),
                ("sslmode=allow".to_owned(), None),
                ("sslmode=prefer".to_owned(), None),
                ("sslmode=require".to_owned(), Some("the server does not speak TLS")),
                (format!("sslmode=verify-full&sslrootcert={ca}"), Some("the server does not speak TLS")),
            ],
        ),
        (
            "right",
            &[
                ("sslmode=disable".to_owned(), None),
                ("sslmode=require".to_owned(), None),
                ("sslmode=require&channel_binding=require".to_owned(), None),
                ("sslmode=require&require_auth=scram-sha-256".to_owned(), None),
                ("sslmode=require&require_auth=md5".to_owned(), Some("which require_auth does not allow")),
                ("sslmode=disable&channel_binding=require".to_owned(), Some("did not bind the login")),
                (format!("sslmode=require&sslrootcert={ca}"), None),
                // As libpq: with a root at hand, `require` verifies it.
                (format!("sslmode=require&sslrootcert={other}"), Some("UnknownIssuer")),
                (format!("sslmode=verify-ca&sslrootcert={ca}"), None),
                (format!("sslmode=verify-ca&sslrootcert={other}"), Some("UnknownIssuer")),
                (format!("sslmode=verify-full&sslrootcert={ca}"), None),
                (format!("sslmode=verify-full&sslrootcert={other}"), Some("UnknownIssuer")),
                (format!("sslmode=verify-full&sslrootcert={ca}&ssl_min_protocol_version=TLSv1.3"), None),
                (format!("sslmode=verify-full&sslrootcert={ca}&ssl_max_protocol_version=TLSv1.2"), None),
                ("sslmode=verify-full&sslrootcert=/nowhere.crt".to_owned(), Some("reading sslrootcert /nowhere.crt")),
                ("sslmode=verify-ca".to_owned(), Some("verify-ca needs sslrootcert")),
                ("sslrootcert=system".to_owned(), Some("TLS: ")),
                ("sslmode=require&sslrootcert=system".to_owned(), Some("needs sslmode=verify-full")),
            ],
        ),
        (
            "elsewhere",
            &[
                ("sslmode=require".to_owned(), None),
                (format!("sslmode=verify-ca&sslrootcert={ca}"), None),
                (format!("sslmode=verify-full&sslrootcert={ca}"), Some("the server's certificate is for another host")),
            ],
        ),
        (
            "expired",
            &[
                ("sslmode=require".to_owned(), None),
                (format!("sslmode=verify-ca&sslrootcert={ca}"), Some("expired")),
                (format!("sslmode=verify-full&sslrootcert={ca}"), Some("expired")),
            ],
        ),
        (
            "selfmade",
            &[
                (format!("sslmode=verify-full&sslrootcert={selfmade}"), None),
                (format!("sslmode=verify-ca&sslrootcert={selfmade}"), None),
                (
                    format!("sslmode=verify-full&sslrootcert={ca}"),
                    Some("the certificate is of an authority that sslrootcert does not name"),
                ),
            ],
        ),
    ];
    for (certificate, cases) in table {
        server.has(certificate);
        for (parameters, refusal) in *cases {
            let run = server.asks("localhost", "postgres", parameters);
            match refusal {
                None => assert_eq!(run.status, Some(0), "{certificate}, {parameters}: {run}"),
                Some(part) => {
                    assert_eq!(run.status, Some(2), "{certificate}, {parameters}: {run}");
                    assert!(run.stderr.contains(part), "{certificate}, {parameters}: {run}");
                }
            }
        }
    }
    // A self-signed certificate is for one name only, as any other.
    let wrong_name = format!("sslmode=verify-full&sslrootcert={selfmade}&hostaddr=127.0.0.1");
    server.asks("db.example", "postgres", &wrong_name).ends_with(2).stderr_has("for another host");
    client_certificates(server);
}

fn client_certificates(server: &Server) {
    server.has("right");
    let ca = server.file("ca.crt");
    let with = |certificate: &str, key: &str| {
        let (certificate, key) = (server.file(certificate), server.file(key));
        server.asks("localhost", "certified", &format!("sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}"))
    };
    with("client.crt", "mine.key").succeeds();
    with("client.crt", "ca.crt").ends_with(2).stderr_has("reading sslkey");
    with("client.crt", "nowhere.key").ends_with(2).stderr_has("reading sslkey");
    let without = server.asks("localhost", "certified", &format!("sslmode=verify-full&sslrootcert={ca}"));
    without.ends_with(2).stderr_has("valid client certificate");
}

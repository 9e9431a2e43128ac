//! What libpq reads beside the URL: environment variables, the service file, the password file, and who the user is.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::parameters::{Parameters, known, likely, variables};
use crate::error::{Error, ErrorKind, Result};

/// A service or password file is small; what is larger is something else.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Looks an environment variable up.
type Variables = Box<dyn Fn(&str) -> Option<String>>;

/// The environment as this process sees it, or as a test makes it.
pub(super) struct Environment {
    pub variable: Variables,
    pub home: Option<PathBuf>,
}

impl Environment {
    pub fn of_process() -> Environment {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Environment { variable: Box::new(|name| std::env::var(name).ok()), home }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Lays a service and the variables below what the URL says.
    pub fn complete(&self, parameters: &mut Parameters) -> Result<()> {
        let service = parameters.get("service").map(str::to_owned).or_else(|| self.get("PGSERVICE"));
        if let Some(service) = service {
            self.service(&service, parameters)?;
        }
        for (variable, name) in variables() {
            if let Some(value) = self.get(variable) {
                parameters.offer(name, value, variable);
            }
        }
        Ok(())
    }

    /// The user's own file first, then the system's.
    fn service(&self, service: &str, parameters: &mut Parameters) -> Result<()> {
        let own = parameters.get("servicefile").map(PathBuf::from).or_else(|| self.get("PGSERVICEFILE").map(PathBuf::from));
        let own = own.or_else(|| self.home.as_ref().map(|home| home.join(".pg_service.conf")));
        let system = PathBuf::from(self.get("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned()));
        for file in own.into_iter().chain([system.join("pg_service.conf")]) {
            let Some(text) = read(&file) else { continue };
            if apply_service(&text, service, &file, parameters)? {
                return Ok(());
            }
        }
        let detail = format!("the service {service:?} is in no service file");
        Err(Error::new(ErrorKind::Usage, "reading the database URL", detail)
            .hint("service files are PGSERVICEFILE, ~/.pg_service.conf and pg_service.conf in PGSYSCONFDIR"))
    }

    /// The password of the password file for this place; a file that others can read is not believed, as in libpq.
    pub fn password(&self, named: Option<&str>, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        let file = named.map(PathBuf::from).or_else(|| self.home.as_ref().map(|home| home.join(".pgpass")))?;
        let text = read(&file)?;
        if file.metadata().ok()?.permissions().mode() & 0o077 != 0 {
            tracing::warn!("{} is ignored: others can read it; chmod 0600", file.display());
            return None;
        }
        let wanted = [host, &port.to_string(), database, user];
        text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut fields = fields(line).into_iter();
            let fits = wanted.iter().all(|wanted| fields.next().is_some_and(|field| field == "*" || field == *wanted));
            fits.then(|| fields.next()).flatten()
        })
    }
}

fn read(file: &Path) -> Option<String> {
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > FILE_MAX_BYTES {
        return None;
    }
    std::fs::read_to_string(file).ok()
}

/// Whether the file has the service; its parameters are taken where the URL has none.
fn apply_service(text: &str, service: &str, file: &Path, parameters: &mut Parameters) -> Result<bool> {
    let mut within = false;
    let mut found = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            within = name == service && !found;
            found |= within;
            continue;
        }
        if !within {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let Some(name) = known(name.trim()) else {
            let guess = likely(name.trim()).map_or(String::new(), |near| format!("; did you mean {near}?"));
            let detail = format!("the service {service:?} has a parameter that does not exist{guess}");
            return Err(Error::new(ErrorKind::Usage, format!("reading {}", file.display()), detail));
        };
        parameters.offer(name, value.trim().to_owned(), &format!("the service {service:?}"));
    }
    Ok(found)
}

/// The fields of a line of a password file: `\:` and `\\` stand for themselves. The last one goes to the end.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut().expect("never empty").extend(chars.next()),
            c => fields.last_mut().expect("never empty").push(c),
        }
    }
    fields
}

/// Who runs this process, by the name that PostgreSQL takes for a role where a URL has none.
pub fn user_name() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|entry| entry.get(2) == Some(&uid.as_str()));
    if let Some(name) = entry.and_then(|entry| entry.first().map(|name| (*name).to_owned())) {
        return Some(name);
    }
    // Users of a directory service are in no file.
    let told = Command::new("id").arg("-un").output().ok()?;
    let name = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    (told.status.success() && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(home: &Path, variables: &'static [(&str, &str)]) -> Environment {
        let variable = move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Environment { variable: Box::new(variable), home: Some(home.to_owned()) }
    }

    #[test]
    fn a_service_stands_between_the_url_and_the_environment() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".pg_service.conf"), "[other]\nhost=no\n[prod]\n# a note\nhost = h\nuser=s\nport=7\n")
            .unwrap();
        let mut read = super::super::url::parse("postgres://ann@/v?service=prod").unwrap();
        environment(home.path(), &[("PGHOST", "e"), ("PGPASSWORD", "w"), ("PGPORT", "")]).complete(&mut read).unwrap();
        let told = ["user", "host", "port", "password", "dbname"].map(|name| read.get(name).unwrap_or_default().to_owned());
        assert_eq!(told, ["ann", "h", "7", "w", "v"]);
        let mut read = super::super::url::parse("postgres:///v?service=absent").unwrap();
        let told = environment(home.path(), &[]).complete(&mut read).unwrap_err().to_string();
        assert_eq!(told, "reading the database URL: the service \"absent\" is in no service file");
    }

    #[test]
    fn a_password_file_is_read_as_libpq_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        std::fs::write(&file, "# host:port:database:user:password\nh:*:v:ann:a\\:b\\\\c\n*:5432:*:*:other\n").unwrap();
        let environment = environment(home.path(), &[]);
        let of = |host, port, user| environment.password(None, host, port, "v", user);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(of("h", 1, "ann"), None, "others can read it");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(of("h", 1, "ann").as_deref(), Some("a:b\\c"));
        assert_eq!(of("h", 5432, "bob").as_deref(), Some("other"));
        assert_eq!(of("i", 1, "bob"), None);
    }

    #[test]
    fn the_user_has_a_name() {
        let told = Command::new("id").arg("-un").output().unwrap();
        assert_eq!(user_name(), Some(String::from_utf8(told.stdout).unwrap().trim().to_owned()));
    }
}

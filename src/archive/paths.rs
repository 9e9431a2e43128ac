//! The paths that an archive can have in it. Whatever names another one was not written by an archiving.

use std::collections::BTreeSet;

use super::beside::is_beside;
use super::tables::{Table, table};
use super::{LATEST, MANIFESTS, PENDING, REPLACED, STAGING};
use crate::files::path::is_plain;

/// The folders that an archive has besides those of its tables.
const FOLDERS: [&str; 4] = [MANIFESTS, STAGING, REPLACED, "latest"];

/// Whether it is the path of a manifest: `_manifest/20250808T060000123456Z.json`.
pub fn manifest_path(path: &str) -> bool {
    let stamp = path.strip_prefix(MANIFESTS).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(".json"));
    stamp.is_some_and(|stamp| {
        let known = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z' | b'-');
        !stamp.is_empty() && stamp.bytes().all(known)
    })
}

/// The path of a sheet, from digits of its hash.
pub fn sheet_name(digits: &str) -> String {
    format!("{MANIFESTS}/sheet-{digits}.json")
}

/// Whether it is the path of a sheet: `_manifest/sheet-51c8f0a1b2c3d4e5.json`.
pub fn sheet_path(path: &str) -> bool {
    let digits = path.strip_prefix(MANIFESTS).and_then(|rest| rest.strip_prefix("/sheet-")?.strip_suffix(".json"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The table and the partition of a file with rows: `scores/init_date=2025-08-07/part-0-6f1c….parquet`.
pub fn table_file(path: &str) -> Option<(&str, &str)> {
    let mut parts = path.split('/');
    let (table_name, folder, name) = (parts.next()?, parts.next()?, parts.next()?);
    let known: &Table = table(table_name)?;
    let partition = folder.strip_prefix(known.partition_column())?.strip_prefix('=')?;
    let (part, hash) = name.strip_prefix("part-")?.strip_suffix(".parquet")?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = parts.next().is_none()
        && is_plain(path)
        && !partition.is_empty()
        && !partition.contains('.')
        && digits(part)
        && hexadecimal(hash);
    whole.then_some((table_name, partition))
}

/// Where a file with rows, or a sheet, stays after it was replaced.
pub fn replaced(path: &str) -> String {
    format!("{REPLACED}/{path}")
}

/// The path that a file had before it was replaced.
pub fn before_replaced(path: &str) -> Option<&str> {
    path.strip_prefix(REPLACED)?.strip_prefix('/').filter(|path| table_file(path).is_some() || sheet_path(path))
}

/// Whether a job can have announced it: what it put in place or removes.
pub fn is_known(path: &str) -> bool {
    manifest_path(path) || sheet_path(path) || table_file(path).is_some() || is_beside(path) || [LATEST, PENDING].contains(&path)
}

/// What file browsers and frameworks leave in a folder, whatever is in it: no engine reads a file of such a name.
const LITTER: [&str; 4] = [".DS_Store", "Thumbs.db", "desktop.ini", "_SUCCESS"];
/// How Hadoop marks a folder of a bucket.
const FOLDER_MARK: &str = "_$folder$";

/// Whether a file was left by a file browser or a framework, or marks a folder of a bucket: an empty object with the folder's name.
/// `files` are the paths of the archive.
pub fn is_litter(path: &str, bytes: u64, files: &BTreeSet<String>) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let folder = || path.strip_suffix(FOLDER_MARK).unwrap_or(path);
    let is_folder = |folder: &str| {
        let inside = format!("{folder}/");
        let has_files = files.range(inside.clone()..).next().is_some_and(|file| file.starts_with(&inside));
        folder.is_empty() || has_files || table(folder).is_some() || FOLDERS.contains(&folder)
    };
    LITTER.contains(&name) || bytes == 0 && is_folder(folder())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_and_buckets_leave_is_litter_and_nothing_else() {
        let files = BTreeSet::from(["scores/init_date=2025-08-07/part-0-6f1c.parquet".to_owned()]);
        for (path, bytes) in [
            (".DS_Store", 6148),
            ("scores/init_date=2025-08-07/Thumbs.db", 9),
            ("scores/_SUCCESS", 0),
            ("", 0),
            ("scores", 0),
            ("scores/init_date=2025-08-07", 0),
            ("scores_$folder$", 0),
            ("scores/init_date=2025-08-07_$folder$", 0),
            ("_manifest", 0),
            ("latest_$folder$", 0),
        ] {
            assert!(is_litter(path, bytes, &files), "{path}");
        }
        for (path, bytes) in [
            ("scores", 1),
            ("scores_$folder$", 1),
            ("scores/init_date=1999-01-01", 0),
            ("scores/init_date=2025-08-07/part-0-00.parquet", 0),
            ("letter", 0),
            ("letter_$folder$", 0),
            ("DS_Store", 0),
        ] {
            assert!(!is_litter(path, bytes, &files), "{path}");
        }
    }

    #[test]
    fn paths_of_an_archive_are_known_and_no_others() {
        let file = "scores/init_date=2025-08-07/part-0-6f1c.parquet";
        assert_eq!(table_file(file), Some(("scores", "2025-08-07")));
        assert_eq!(
            table_file("miner_stats/as_of=20250808T000000000000Z/part-12-91ab.parquet"),
            Some(("miner_stats", "20250808T000000000000Z"))
        );
        assert_eq!(
            table_file("findings/init_date=__HIVE_DEFAULT_PARTITION__/part-0-00.parquet"),
            Some(("findings", "__HIVE_DEFAULT_PARTITION__"))
        );
        assert!(is_known(&sheet_name("51c8")) && !manifest_path(&sheet_name("51c8")));
        assert!(manifest_path("_manifest/20250808T000000000000Z-2.json") && manifest_path("_manifest/-5.json"));
        for path in [
            "../precious/file",
            "/etc/passwd",
            "precious/init_date=2025-08-07/part-0-6f1c.parquet",
            "scores/as_of=2025-08-07/part-0-6f1c.parquet",
            "scores/init_date=../part-0-6f1c.parquet",
            "scores/init_date=2025-08-07/../part-0-6f1c.parquet",
            "scores/init_date=2025-08-07/part-0-6f1c.parquet/more",
            "scores/init_date=2025-08-07/notes.parquet",
            "_manifest/../_latest.json",
            "_manifest/notes.json",
            "_manifest/sheet-.json",
            "_manifest/sheet-../51c8.json",
            "_staging/lock",
            "latest/notes.parquet",
            "latest/../miner_stats.parquet",
            "",
        ] {
            assert!(!is_known(path), "{path}");
        }
    }
}

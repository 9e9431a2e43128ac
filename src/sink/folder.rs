//! A diff folder: every difference for people and tools, and beside it all that `apply` needs, sealed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::archive::read::rows_in as rows_in_footer;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::files::decode::decoding;
use crate::files::manifest::{Fault, Format};
use crate::files::parquet::Finished;
use crate::files::path::{self, SMALL_BYTES, is_hash};
use crate::files::seal::NO_HASH;
use crate::files::staging::Staging;
use crate::files::{bounds, hash, pages};
use crate::model::columns::Group;
use crate::model::correction::{
    Change, Correction, Corrections, EvidenceOf, Fingerprint, Origin, correction_rows, corrections_from,
};
use crate::model::difference::Difference;
use crate::model::filter::{STORED_TABLES, stored_column};
use crate::model::job::Encoding;
use crate::model::rollups::{CorrectionRow, DifferenceRow, EvidenceRow, Rollup};
use crate::model::rows::rows_from_batch;
use crate::model::visible;

use super::tables::RowFile;

const MANIFEST: &str = "manifest.json";
/// In version 1 the manifest has the hash of each file alone, from version 2 on its rows and bytes too. Both are read.
const FORMAT: Format = Format { name: "recount diff", newest: 2, is_sealed: true };
const FILES: [&str; 3] = ["differences.parquet", "corrections.parquet", "evidence.parquet"];
const HINT: &str = "give the path of a folder that `recount diff --out` wrote, as it was written";

/// What a diff folder holds, and where it comes from.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: String,
    version: u64,
    source: String,
    taken_at_us: i64,
    digest: String,
    settings: Json,
    files: BTreeMap<String, FileEntry>,
    manifest_blake3: String,
}

/// What a file is to be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum FileEntry {
    Whole {
        rows: u64,
        bytes: u64,
        blake3: String,
    },
    /// The BLAKE3 alone, of version 1.
    Hash(String),
}

impl FileEntry {
    fn of(file: &Finished) -> FileEntry {
        FileEntry::Whole { rows: file.rows, bytes: file.bytes, blake3: file.blake3.clone() }
    }

    fn blake3(&self) -> &str {
        match self {
            FileEntry::Whole { blake3, .. } | FileEntry::Hash(blake3) => blake3,
        }
    }

    fn bytes(&self) -> Option<u64> {
        if let FileEntry::Whole { bytes, .. } = self { Some(*bytes) } else { None }
    }

    fn rows(&self) -> Option<u64> {
        if let FileEntry::Whole { rows, .. } = self { Some(*rows) } else { None }
    }
}

/// A diff folder in the making.
pub struct DiffFolder {
    folder: Staging,
    differences: RowFile,
    corrections: RowFile,
    encoding: Encoding,
}

impl DiffFolder {
    pub fn create(out: &Path, encoding: Encoding) -> Result<Self> {
        let folder = Staging::create(out)?;
        let differences = RowFile::create::<DifferenceRow>(&folder.path(FILES[0]), encoding)?;
        let corrections = RowFile::create::<CorrectionRow>(&folder.path(FILES[1]), encoding)?;
        Ok(DiffFolder { folder, differences, corrections, encoding })
    }

    /// Appends differences, and the corrections that are made of them.
    pub fn write(&mut self, differences: &[Difference], corrections: &[Correction]) -> Result<()> {
        let differences: Vec<DifferenceRow> = differences.iter().map(DifferenceRow::from).collect();
        let corrections: Vec<CorrectionRow> = corrections.iter().flat_map(correction_rows).collect();
        self.differences.rows(&differences)?;
        self.corrections.rows(&corrections)
    }

    pub fn finish(self, evidence: &BTreeMap<EvidenceOf, Fingerprint>, origin: &Origin) -> Result<()> {
        let files = [self.differences.finish()?, self.corrections.finish()?];
        let rows: Vec<EvidenceRow> = evidence.iter().map(evidence_row).collect();
        let mut file = RowFile::create::<EvidenceRow>(&self.folder.path(FILES[2]), self.encoding)?;
        file.rows(&rows)?;
        let files = files.into_iter().chain([file.finish()?]);
        let manifest = Manifest {
            format: FORMAT.name.to_owned(),
            version: FORMAT.newest,
            source: origin.source.clone(),
            taken_at_us: origin.taken_at,
            digest: origin.digest.clone(),
            settings: origin.settings.clone(),
            files: FILES.map(str::to_owned).into_iter().zip(files.map(|file| FileEntry::of(&file))).collect(),
            manifest_blake3: NO_HASH.to_owned(),
        };
        let path = self.folder.path(MANIFEST);
        std::fs::write(&path, FORMAT.text(&manifest)).doing(ErrorKind::Io, || format!("writing {}", path.display()))?;
        self.folder.commit()
    }
}

/// Reads the corrections of a folder; refuses one that is not ours, damaged or edited. A seal is no signature, so what the folder
/// asks for is checked too: a correction changes only what a diff of ours can change.
pub fn read(folder: &Path) -> Result<Corrections> {
    let manifest = read_manifest(folder)?;
    FILES.iter().try_for_each(|name| check_file(folder, &manifest, name))?;
    count_rows(folder, &manifest, FILES[0])?;
    let rows = rows_of::<CorrectionRow>(folder, &manifest, FILES[1])?;
    let table = |name: &str| STORED_TABLES.iter().map(|(known, _)| *known).find(|known| *known == name);
    let rows = corrections_from(&rows, table)
        .ok_or_else(|| refused(folder, format!("{} has a row that recount never writes", FILES[1])))?;
    rows.iter().try_for_each(|row| check_columns(folder, row))?;
    let evidence = rows_of::<EvidenceRow>(folder, &manifest, FILES[2])?;
    let Manifest { source, taken_at_us: taken_at, digest, settings, manifest_blake3, .. } = manifest;
    let origin = Origin { source, taken_at, digest, settings, diff: Some(manifest_blake3) };
    let mut corrections = Corrections { origin, rows, evidence: evidence.iter().map(evidence_of).collect() };
    corrections.sort();
    Ok(corrections)
}

/// An update sets columns that are compared (D4), an insert those of a recomputed row.
fn check_columns(folder: &Path, correction: &Correction) -> Result<()> {
    let table = correction.table;
    let is_compared = |name: &str| stored_column(table, name).is_some_and(|column| column.group != Group::Key);
    let unknown = match &correction.change {
        Change::Update(cells) => cells.iter().map(|cell| &cell.column).find(|name| !is_compared(name)),
        Change::Insert(cells) => cells.iter().map(|(name, _)| name).find(|name| stored_column(table, name).is_none()),
        Change::Delete => None,
    };
    unknown.map_or(Ok(()), |name| {
        Err(refused(folder, format!("{} sets the column {name:?} of {table}, which no correction does", FILES[1])))
    })
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let bytes = path::read(folder, MANIFEST, SMALL_BYTES).map_err(|e| unreadable(folder, MANIFEST, e))?;
    let manifest: Manifest = FORMAT.read(&bytes).map_err(|fault| match fault {
        Fault::Damaged(detail) => refused(folder, format!("{MANIFEST} {detail}")),
        Fault::Newer(newer) => {
            let newest = FORMAT.newest;
            refused(folder, format!("{MANIFEST} has format version {newer}, this recount reads up to version {newest}"))
        }
    })?;
    if !is_hash(&manifest.digest) {
        return Err(refused(folder, format!("the digest in {MANIFEST} is not 64 hexadecimal digits")));
    }
    if let Some(name) = manifest.files.keys().find(|name| !FILES.contains(&name.as_str())) {
        return Err(refused(folder, format!("{MANIFEST} names {name:?}, which is no file of a diff")));
    }
    let lacks = |(_, file): &(&String, &FileEntry)| manifest.version > 1 && file.rows().is_none();
    match manifest.files.iter().find(lacks) {
        Some((name, _)) => Err(refused(folder, format!("{MANIFEST} does not say how many rows and bytes {name} has"))),
        None => Ok(manifest),
    }
}

/// The file is the one that the manifest speaks of.
fn check_file(folder: &Path, manifest: &Manifest, name: &str) -> Result<()> {
    let wrong = |detail: String| Err(refused(folder, format!("{name} is not as it was written: {detail}")));
    let entry = entry_of(folder, manifest, name)?;
    let (file, bytes) = path::open(folder, name, u64::MAX).map_err(|e| unreadable(folder, name, e))?;
    if let Some(said) = entry.bytes().filter(|said| *said != bytes) {
        return wrong(format!("it has {bytes} bytes, {MANIFEST} says {said}"));
    }
    let found = hash::of_file(&file, bytes).map_err(|e| unreadable(folder, name, e))?.to_hex();
    match entry.blake3() {
        said if said == found.as_str() => Ok(()),
        said => wrong(format!("its BLAKE3 is {found}, {MANIFEST} says {}", visible::line(said))),
    }
}

fn entry_of<'m>(folder: &Path, manifest: &'m Manifest, name: &str) -> Result<&'m FileEntry> {
    manifest.files.get(name).ok_or_else(|| refused(folder, format!("{MANIFEST} does not name {name}")))
}

/// The rows of a file, as many as the manifest says.
fn rows_of<R: Rollup>(folder: &Path, manifest: &Manifest, name: &str) -> Result<Vec<R>> {
    let (file, bytes) = path::open(folder, name, u64::MAX).map_err(|e| unreadable(folder, name, e))?;
    let damaged = |detail: String| refused(folder, format!("{name} is damaged: {detail}"));
    let rows = decoding(|| rows_in::<R>(file, bytes).map_err(|e| e.to_string()), |panic| panic).map_err(damaged)?;
    check_rows(folder, manifest, name, rows.len() as u64).map(|()| rows)
}

/// A file that nobody reads the rows of has as many as the manifest says, by its own footer.
fn count_rows(folder: &Path, manifest: &Manifest, name: &str) -> Result<()> {
    let (file, _) = path::open(folder, name, u64::MAX).map_err(|e| unreadable(folder, name, e))?;
    let rows = rows_in_footer(&file).map_err(|e| refused(folder, format!("{name} is damaged: {e}")))?;
    check_rows(folder, manifest, name, rows)
}

fn check_rows(folder: &Path, manifest: &Manifest, name: &str, rows: u64) -> Result<()> {
    match entry_of(folder, manifest, name)?.rows() {
        Some(said) if said != rows => {
            Err(refused(folder, format!("{name} is not as it was written: it has {rows} rows, {MANIFEST} says {said}")))
        }
        _ => Ok(()),
    }
}

fn rows_in<R: Rollup>(file: File, bytes: u64) -> std::result::Result<Vec<R>, Box<dyn std::error::Error>> {
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    let mut room = bounds::check_footer(found.metadata(), bytes)?;
    pages::check(found.metadata(), &file)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(bounds::coded(found.schema()));
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    let mut rows = Vec::new();
    for batch in builder.with_batch_size(bounds::BATCH_ROWS).build()? {
        let batch = batch?;
        room.take_rows(&batch, found.schema())?;
        rows.extend(rows_from_batch::<R>(&batch)?);
    }
    Ok(rows)
}

/// The differences of a folder, as they were written; refuses one that is not ours, damaged or edited.
pub fn differences(folder: &Path) -> Result<Vec<DifferenceRow>> {
    let manifest = read_manifest(folder)?;
    let name = FILES[0];
    check_file(folder, &manifest, name)?;
    rows_of(folder, &manifest, name)
}

fn evidence_row((whose, print): (&EvidenceOf, &Fingerprint)) -> EvidenceRow {
    let id = |id: i32| (id != EvidenceOf::ALL).then_some(id);
    EvidenceRow {
        run_id: id(whose.run),
        miner_uid: id(whose.miner),
        responses: Some(print.responses),
        scores: Some(print.scores),
        newest_score: print.newest_score,
        steps: Some(print.steps),
        newest_step: print.newest_step,
    }
}

fn evidence_of(row: &EvidenceRow) -> (EvidenceOf, Fingerprint) {
    let whose = EvidenceOf { run: row.run_id.unwrap_or(EvidenceOf::ALL), miner: row.miner_uid.unwrap_or(EvidenceOf::ALL) };
    let print = Fingerprint {
        responses: row.responses.unwrap_or_default(),
        scores: row.scores.unwrap_or_default(),
        newest_score: row.newest_score,
        steps: row.steps.unwrap_or_default(),
        newest_step: row.newest_step,
    };
    (whose, print)
}

fn unreadable(folder: &Path, name: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => refused(folder, format!("there is no {name} in it")),
        _ if path::is_refusal(&error) => refused(folder, format!("{name} {error}")),
        _ => Error::new(ErrorKind::Io, format!("reading {}", folder.join(name).display()), &error).caused_by(error),
    }
}

fn refused(folder: &Path, detail: String) -> Error {
    Error::new(ErrorKind::Snapshot, format!("opening the diff {}", folder.display()), detail).hint(HINT)
}

#[cfg(test)]
mod tests {
    use crate::model::correction::Cell;
    use crate::model::difference::{Class, RowKey};
    use crate::model::rollups::MinerStat;
    use crate::model::time::Micros;
    use crate::model::value::Value;

    use super::*;

    fn corrections() -> Corrections {
        let key = RowKey { miner_uid: Some(3), ..RowKey::default() };
        let cell = Cell {
            column: "avg_era5_score".to_owned(),
            class: Class::Drift,
            stored: Value::Float(f64::NAN),
            recomputed: Value::Float(0.1),
        };
        let print = Fingerprint { responses: 1, scores: 2, newest_score: Some(Micros(7)), steps: 0, newest_step: None };
        Corrections {
            origin: Origin {
                source: "data/sample".to_owned(),
                taken_at: 5,
                digest: "d".repeat(64),
                settings: Json::Null,
                diff: None,
            },
            rows: vec![Correction { table: MinerStat::TABLE, key, change: Change::Update(vec![cell]) }],
            evidence: [(EvidenceOf { run: EvidenceOf::ALL, miner: 3 }, print)].into(),
        }
    }

    fn written(out: &Path) {
        let corrections = corrections();
        let mut folder = DiffFolder::create(out, Encoding::Plain).unwrap();
        folder.write(&[], &corrections.rows).unwrap();
        folder.finish(&corrections.evidence, &corrections.origin).unwrap();
    }

    #[test]
    fn what_was_written_is_read() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("night");
        written(&out);
        let back = read(&out).unwrap();
        let origin = Origin { diff: back.origin.diff.clone(), ..corrections().origin };
        assert_eq!((back.origin, back.evidence), (origin, corrections().evidence));
        let Change::Update(cells) = &back.rows[0].change else { panic!("an update") };
        assert!(matches!(cells[0].stored, Value::Float(x) if x.is_nan()));
    }

    /// A text that stands in the file once, and in a thousand rows of it: a few kilobytes that unpack to gigabytes.
    #[test]
    fn a_file_that_unpacks_to_more_than_its_size_allows_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(FILES[1]);
        let text = "x".repeat(900 << 10);
        let row = CorrectionRow { stored_text: Some(text), ..CorrectionRow::default() };
        let mut file = RowFile::create::<CorrectionRow>(&path, Encoding::Plain).unwrap();
        (0..100).for_each(|_| file.rows(&vec![row.clone(); 32]).unwrap());
        file.finish().unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 400_000, "{bytes}");
        let error = rows_in::<CorrectionRow>(File::open(&path).unwrap(), bytes).unwrap_err().to_string();
        assert!(error.starts_with("it unpacks to 2"), "{error}");
    }

    /// The manifest of a folder, changed and sealed anew.
    fn forged(out: &Path, change: impl FnOnce(&mut Manifest)) {
        let mut manifest: Manifest = FORMAT.read(&std::fs::read(out.join(MANIFEST)).unwrap()).unwrap();
        change(&mut manifest);
        manifest.manifest_blake3 = NO_HASH.to_owned();
        std::fs::write(out.join(MANIFEST), FORMAT.text(&manifest)).unwrap();
    }

    /// Changes what a manifest says of a file: its rows, bytes, hash.
    type Lie = fn(&mut u64, &mut u64, &mut String);

    #[test]
    fn a_manifest_that_lies_about_a_file_is_refused_with_what_was_expected_and_found() {
        let lies: [(Lie, &str); 3] = [
            (|rows, _, _| *rows += 7, " rows, manifest.json says "),
            (|_, bytes, _| *bytes -= 1, " bytes, manifest.json says "),
            (|_, _, blake3| *blake3 = "0".repeat(64), ", manifest.json says 0000"),
        ];
        let parent = tempfile::tempdir().unwrap();
        for name in FILES {
            for (at, (lie, said)) in lies.iter().enumerate() {
                let out = parent.path().join(format!("{at}-{name}"));
                written(&out);
                read(&out).unwrap();
                forged(&out, |manifest| match manifest.files.get_mut(name).unwrap() {
                    FileEntry::Whole { rows, bytes, blake3 } => lie(rows, bytes, blake3),
                    FileEntry::Hash(_) => unreachable!("version 2 has all three"),
                });
                let error = read(&out).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Snapshot);
                let detail = error.to_string();
                assert!(detail.contains(&format!(": {name} is not as it was written: it")) && detail.contains(said), "{detail}");
                assert_eq!(differences(&out).is_err(), name == FILES[0], "show reads {name}");
            }
        }
    }

    #[test]
    fn a_folder_of_version_1_is_read_and_one_of_version_2_without_counts_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("night");
        written(&out);
        let hashes_alone = |manifest: &mut Manifest| {
            manifest.files.values_mut().for_each(|file| *file = FileEntry::Hash(file.blake3().to_owned()));
        };
        forged(&out, hashes_alone);
        let detail = read(&out).unwrap_err().to_string();
        assert!(detail.ends_with("manifest.json does not say how many rows and bytes corrections.parquet has"), "{detail}");
        forged(&out, |manifest| manifest.version = 1);
        assert_eq!(read(&out).unwrap().rows.len(), 1);
    }

    #[test]
    fn an_edited_or_foreign_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        for name in FILES.iter().chain([&MANIFEST]) {
            let out = parent.path().join(format!("with-{name}"));
            written(&out);
            let mut bytes = std::fs::read(out.join(name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(out.join(name), bytes).unwrap();
            assert_eq!(read(&out).unwrap_err().kind(), ErrorKind::Snapshot, "{name}");
        }
        let error = read(parent.path()).unwrap_err();
        assert!(error.to_string().ends_with("there is no manifest.json in it"), "{error}");
    }
}

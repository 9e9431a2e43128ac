//! A diff folder: every difference for people and tools, and beside it all that `apply` needs, sealed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::correction::{Correction, Corrections, Fingerprint, Origin, Whose, correction_rows, corrections_from};
use crate::model::difference::Difference;
use crate::model::filter::STORED_TABLES;
use crate::model::rollups::{CorrectionRow, DifferenceRow, EvidenceRow, Rollup};
use crate::model::rows::rows_from_batch;
use crate::seal::{NO_HASH, is_intact, seal};
use crate::staging::Staging;

use super::tables::TableFile;

const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "recount diff";
const VERSION: u64 = 1;
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
    /// BLAKE3 of each file.
    files: BTreeMap<String, String>,
    manifest_blake3: String,
}

/// A diff folder in the making.
pub struct DiffFolder {
    folder: Staging,
    differences: TableFile,
    corrections: TableFile,
}

impl DiffFolder {
    pub fn create(out: &Path) -> Result<Self> {
        let folder = Staging::create(out)?;
        let differences = TableFile::create::<DifferenceRow>(&folder.path(FILES[0]))?;
        let corrections = TableFile::create::<CorrectionRow>(&folder.path(FILES[1]))?;
        Ok(DiffFolder { folder, differences, corrections })
    }

    /// Appends differences, and the corrections that they come to.
    pub fn write(&mut self, differences: &[Difference], corrections: &[Correction]) -> Result<()> {
        let differences: Vec<DifferenceRow> = differences.iter().map(DifferenceRow::from).collect();
        let corrections: Vec<CorrectionRow> = corrections.iter().flat_map(correction_rows).collect();
        self.differences.rows(&differences)?;
        self.corrections.rows(&corrections)
    }

    pub fn finish(self, evidence: &BTreeMap<Whose, Fingerprint>, origin: &Origin) -> Result<()> {
        self.differences.finish()?;
        self.corrections.finish()?;
        let rows: Vec<EvidenceRow> = evidence.iter().map(evidence_row).collect();
        let mut file = TableFile::create::<EvidenceRow>(&self.folder.path(FILES[2]))?;
        file.rows(&rows)?;
        file.finish()?;
        let hash = |name: &str| Ok((name.to_owned(), hash_of(&self.folder.path(name))?));
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            source: origin.source.clone(),
            taken_at_us: origin.taken_at,
            digest: origin.digest.clone(),
            settings: origin.settings.clone(),
            files: FILES.iter().map(|name| hash(name)).collect::<Result<_>>()?,
            manifest_blake3: NO_HASH.to_owned(),
        };
        let text = serde_json::to_string_pretty(&manifest).expect("plain data") + "\n";
        let path = self.folder.path(MANIFEST);
        std::fs::write(&path, seal(&text)).doing(ErrorKind::Io, || format!("writing {}", path.display()))?;
        self.folder.commit()
    }
}

/// Reads the corrections of a folder; refuses one that is not ours, damaged or edited.
pub fn read(folder: &Path) -> Result<Corrections> {
    let manifest = read_manifest(folder)?;
    for name in FILES {
        let (found, stated) = (hash_of(&folder.join(name))?, manifest.files.get(name));
        if stated != Some(&found) {
            return Err(refused(folder, format!("{name} is not as it was written: its BLAKE3 is another than {MANIFEST} says")));
        }
    }
    let rows = rows_of::<CorrectionRow>(&folder.join(FILES[1]))?;
    let table = |name: &str| STORED_TABLES.iter().map(|(known, _)| *known).find(|known| *known == name);
    let rows = corrections_from(&rows, table)
        .ok_or_else(|| refused(folder, format!("{} has a row that recount never writes", FILES[1])))?;
    let evidence = rows_of::<EvidenceRow>(&folder.join(FILES[2]))?;
    let Manifest { source, taken_at_us: taken_at, digest, settings, .. } = manifest;
    let origin = Origin { source, taken_at, digest, settings };
    let mut corrections = Corrections { origin, rows, evidence: evidence.iter().map(evidence_of).collect() };
    corrections.sort();
    Ok(corrections)
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => refused(folder, format!("there is no {MANIFEST} in it")),
        _ => Error::new(ErrorKind::Io, format!("reading {}", path.display()), &e).caused_by(e),
    })?;
    let json: Json = serde_json::from_str(&text).map_err(|e| refused(folder, format!("{MANIFEST} is not JSON: {e}")))?;
    if json.get("format").and_then(Json::as_str) != Some(FORMAT) {
        return Err(refused(folder, format!("{MANIFEST} is not of a {FORMAT}")));
    }
    if json.get("version").and_then(Json::as_u64) != Some(VERSION) {
        return Err(refused(folder, format!("{MANIFEST} has another format version than {VERSION}, which this recount reads")));
    }
    if !is_intact(&text) {
        return Err(refused(folder, format!("{MANIFEST} does not match its own hash: it was edited or damaged")));
    }
    serde_json::from_value(json).map_err(|e| refused(folder, format!("{MANIFEST} does not have its fields: {e}")))
}

fn rows_of<R: Rollup>(path: &Path) -> Result<Vec<R>> {
    let doing = || format!("reading {}", path.display());
    let file = File::open(path).doing(ErrorKind::Io, doing)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).doing(ErrorKind::Snapshot, doing)?;
    let mut rows = Vec::new();
    for batch in builder.build().doing(ErrorKind::Snapshot, doing)? {
        rows.extend(rows_from_batch::<R>(&batch.doing(ErrorKind::Snapshot, doing)?)?);
    }
    Ok(rows)
}

fn evidence_row((whose, print): (&Whose, &Fingerprint)) -> EvidenceRow {
    let id = |id: i32| (id != Whose::ALL).then_some(id);
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

fn evidence_of(row: &EvidenceRow) -> (Whose, Fingerprint) {
    let whose = Whose { run: row.run_id.unwrap_or(Whose::ALL), miner: row.miner_uid.unwrap_or(Whose::ALL) };
    let print = Fingerprint {
        responses: row.responses.unwrap_or_default(),
        scores: row.scores.unwrap_or_default(),
        newest_score: row.newest_score,
        steps: row.steps.unwrap_or_default(),
        newest_step: row.newest_step,
    };
    (whose, print)
}

fn hash_of(path: &PathBuf) -> Result<String> {
    let bytes = std::fs::read(path).doing(ErrorKind::Snapshot, || format!("reading {}", path.display()))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

fn refused(folder: &Path, detail: String) -> Error {
    Error::new(ErrorKind::Snapshot, format!("opening the diff {}", folder.display()), detail).hint(HINT)
}

#[cfg(test)]
mod tests {
    use crate::model::correction::{Cell, Change};
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
            origin: Origin { source: "data/sample".to_owned(), taken_at: 5, digest: "d".to_owned(), settings: Json::Null },
            rows: vec![Correction { table: MinerStat::TABLE, key, change: Change::Update(vec![cell]) }],
            evidence: [(Whose { run: Whose::ALL, miner: 3 }, print)].into(),
        }
    }

    fn written(out: &Path) {
        let corrections = corrections();
        let mut folder = DiffFolder::create(out).unwrap();
        folder.write(&[], &corrections.rows).unwrap();
        folder.finish(&corrections.evidence, &corrections.origin).unwrap();
    }

    #[test]
    fn what_was_written_is_read() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("night");
        written(&out);
        let back = read(&out).unwrap();
        assert_eq!((back.origin, back.evidence), (corrections().origin, corrections().evidence));
        let Change::Update(cells) = &back.rows[0].change else { panic!("an update") };
        assert!(matches!(cells[0].stored, Value::Float(x) if x.is_nan()));
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

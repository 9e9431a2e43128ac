//! The file in which a job keeps the results of its units. It is trusted whole or not at all.
//!
//! ```text
//! MAGIC | length of the index | index | the result of each unit, in the index's order | BLAKE3 of all before
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::model::changes::{Position, UnitRows};
use crate::model::evidence::Run;
use crate::model::time::Micros;

/// Raised with every change of what is written, or of what it means.
const MAGIC: &[u8; 16] = b"recount state 5
";
const HASH_BYTES: usize = 32;
const LENGTH_BYTES: usize = 8;

const FILE: &str = "reconcile.state";
const PARTIAL: &str = ".reconcile.state.partial";
const LOCK: &str = "lock";

/// What a state is a state of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the program.
    pub program: String,
    /// BLAKE3 of the settings that bear on results.
    pub settings: [u8; HASH_BYTES],
    /// The hash of the legacy scores.
    pub legacy: [u8; HASH_BYTES],
    /// What rules took for the time of the snapshot.
    pub snapshot_time: Micros,
    pub position: Position,
    /// When everything was last read.
    pub full_at: Micros,
}

/// What is known of a unit without decoding its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptUnit {
    pub runs: Vec<Run>,
    pub rows: UnitRows,
    /// After this, its result changes by time alone.
    pub fresh_until: Option<Micros>,
    /// Something drifted, is missing or is extra.
    pub differs: bool,
    /// A cell cannot be checked (D6).
    pub unproven: bool,
    /// A cell is as it is by habit.
    pub habit: bool,
    /// Something is within tolerance.
    pub within: bool,
    /// Fingerprints of the evidence are kept, as corrections need them.
    pub evidence: bool,
    /// Bytes of its result.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Index {
    header: Header,
    units: Vec<KeptUnit>,
}

/// A state as it was read.
#[derive(Debug)]
pub struct State {
    pub header: Header,
    pub units: Vec<KeptUnit>,
    file: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl State {
    /// The result of the unit of this index.
    pub fn result(&self, index: usize) -> &[u8] {
        &self.file[self.places[index].clone()]
    }

    /// `None` where a byte is not as it was written.
    fn parse(file: Vec<u8>) -> Option<State> {
        let body = file.len().checked_sub(HASH_BYTES)?;
        let (before, hash) = file.split_at(body);
        let hash: [u8; HASH_BYTES] = hash.try_into().ok()?;
        if blake3::hash(before) != hash {
            return None;
        }
        let rest = before.get(MAGIC.len()..)?;
        let length = u64::from_le_bytes(rest.get(..LENGTH_BYTES)?.try_into().ok()?);
        let index = rest.get(LENGTH_BYTES..)?.get(..usize::try_from(length).ok()?)?;
        let Index { header, units } = postcard::from_bytes(index).ok()?;
        let mut start = MAGIC.len() + LENGTH_BYTES + index.len();
        let mut places = Vec::with_capacity(units.len());
        for unit in &units {
            let end = start.checked_add(usize::try_from(unit.bytes).ok()?)?;
            places.push(start..end);
            start = end;
        }
        (start == body).then_some(State { header, units, file, places })
    }
}

/// The folder of a state, held so that no other job writes to it.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// What is in a folder that is only looked at.
#[derive(Debug)]
pub enum Seen {
    /// Another job holds it.
    Locked,
    /// No state, or none that can be trusted, and why.
    None(&'static str),
    State {
        taken_at: Micros,
        full_at: Micros,
        program: String,
    },
}

impl StateFolder {
    /// Looks into a folder: nothing is made in it, and nobody is kept from it for longer than a look takes.
    pub fn look(path: &Path) -> Result<Seen> {
        let doing = || format!("opening the state folder {}", path.display());
        let lock = match File::options().write(true).open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::None("there was none yet")),
            Err(error) => return Err(error).doing(ErrorKind::Io, doing),
        };
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(Seen::Locked);
        }
        Ok(match (StateFolder { path: path.to_owned(), _lock: lock }).read()? {
            Ok(State { header, .. }) => {
                Seen::State { taken_at: header.snapshot_time, full_at: header.full_at, program: header.program }
            }
            Err(why) => Seen::None(why),
        })
    }

    pub fn open(path: &Path) -> Result<StateFolder> {
        let doing = || format!("opening the state folder {}", path.display());
        fs::create_dir_all(path).doing(ErrorKind::Io, doing)?;
        let lock = File::create(path.join(LOCK)).doing(ErrorKind::Io, doing)?;
        match lock.try_lock() {
            Ok(()) => Ok(StateFolder { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Io, doing(), "another job is using it")
                .hint("wait for that job, or give each job a folder of its own")),
            Err(TryLockError::Error(error)) => Err(Error::new(ErrorKind::Io, doing(), &error).caused_by(error)),
        }
    }

    /// The state, or why there is none that can be trusted.
    pub fn read(&self) -> Result<std::result::Result<State, &'static str>> {
        let path = self.path.join(FILE);
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err("there was none yet")),
            Err(error) => return Err(error).doing(ErrorKind::Io, || format!("reading {}", path.display())),
        };
        if !file.starts_with(MAGIC) {
            return Ok(Err("it is of another format"));
        }
        Ok(State::parse(file).ok_or("it is damaged"))
    }

    /// Writes a state beside the old one, makes it durable, and puts it in its place.
    pub fn write(&self, header: Header, units: Vec<KeptUnit>, results: &[&[u8]]) -> Result<()> {
        let (partial, path) = (self.path.join(PARTIAL), self.path.join(FILE));
        let doing = || format!("writing {}", path.display());
        let index = postcard::to_stdvec(&Index { header, units }).doing(ErrorKind::Io, doing)?;
        let length = (index.len() as u64).to_le_bytes();
        let head: [&[u8]; 3] = [MAGIC, &length, &index];
        let write = || {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
            let mut hasher = Hasher::new();
            for part in head.iter().chain(results) {
                hasher.update(part);
                out.write_all(part)?;
            }
            out.write_all(hasher.finalize().as_bytes())?;
            out.into_inner()?.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().doing(ErrorKind::Io, doing)
    }
}

//! The machine that a job runs on: room on its disks, and memory.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use crate::model::checkup::{Check, megabytes};

/// What is written at least: temporary files, reports, a state.
const DISK_MIN: u64 = 64 << 20;
/// What is little enough to be told.
const DISK_NOTE: u64 = 1 << 30;
/// Evidence of one unit and two folded ones, for runs of 256 miners, by thread; docs/performance.md.
const MEMORY_PER_THREAD: u64 = 64 << 20;

/// Whether a folder can be written to, and has room: for `needed` bytes, and some more.
pub fn disk(name: &'static str, folder: &Path, needed: u64) -> Check {
    let shown = folder.display();
    // What is not there yet is made where its parents are.
    let Some(place) = folder
        .ancestors()
        .map(|place| if place.as_os_str().is_empty() { Path::new(".") } else { place })
        .find(|place| place.exists())
    else {
        return Check::fault(name, format!("{shown} is nowhere"), "name a folder of this machine");
    };
    if !place.is_dir() {
        return Check::fault(name, format!("{} is no folder", place.display()), "name a folder");
    }
    if access(place, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let seen = format!("{} cannot be written to by this user", place.display());
        return Check::fault(
            name,
            seen,
            "chown it to the user that runs recount, or name another folder (TMPDIR, --out, --state)",
        );
    }
    let space = match statvfs(place) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => return Check::fault(name, format!("{shown}: {error}"), "name a folder of this machine"),
    };
    let seen = format!("{} free in {shown}", megabytes(space));
    let purpose = if needed > 0 { format!("; a job needs {} there", megabytes(needed + DISK_MIN)) } else { String::new() };
    let remedy = "make room, or name a folder on another disk (TMPDIR, --out, --state)";
    match space {
        space if space < needed + DISK_MIN => Check::fault(name, seen + &purpose, remedy),
        space if space < needed + DISK_NOTE => Check::note(name, seen + &purpose, remedy),
        _ => Check::ok(name, seen),
    }
}

/// Whether there is memory for as many threads.
pub fn memory(threads: usize) -> Check {
    let needed = MEMORY_PER_THREAD.saturating_mul(threads as u64 + 1);
    let Some(free) = available() else {
        return Check::ok("memory", "how much is free cannot be told on this machine");
    };
    let seen = format!("{} free; {threads} threads want about {} for runs of 256 miners", megabytes(free), megabytes(needed));
    match free {
        free if free < needed / 2 => Check::fault("memory", seen, "use fewer --threads, or give it more memory"),
        free if free < needed => Check::note("memory", seen, "use fewer --threads, or give it more memory"),
        _ => Check::ok("memory", seen),
    }
}

/// What the machine has free, or the group of processes that we are in.
fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = machine.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = kilobytes.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10;
    let of_group = |file: &str| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok()?.trim().parse::<u64>().ok();
    let group = of_group("memory.max").zip(of_group("memory.current")).map(|(max, used)| max.saturating_sub(used));
    Some(group.map_or(machine, |group| group.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkup::Standing;

    #[test]
    fn memory_goes_by_threads() {
        assert_ne!(memory(1).standing, Standing::Fault);
        assert_eq!(memory(usize::MAX >> 30).standing, Standing::Fault);
    }

    #[test]
    fn a_full_disk_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        assert_ne!(disk("out", &folder.path().join("not/yet"), 0).standing, Standing::Fault);
        let full = disk("tmpdir", folder.path(), u64::MAX >> 8);
        assert_eq!(full.standing, Standing::Fault);
        assert!(full.seen.contains("free in") && full.seen.contains("a job needs"), "{}", full.seen);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(disk("out", &file, 0).seen.ends_with("is no folder"));
    }
}

//! What is fuzzed, and with which seeds. A target answers with what it made of an input, or why it made nothing of it.

mod copy;
mod files;
mod pages;
mod tables;
mod texts;

pub trait Target {
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Puts right what would end every mutated input at the door, as a seal.
    fn repair(&self, _input: &mut Vec<u8>) {}

    /// Does with the input what a command would do.
    fn run(&mut self, input: &[u8]) -> String;
}

type Make = fn() -> Box<dyn Target>;

pub fn targets() -> Vec<(&'static str, Make)> {
    vec![
        ("copy_rows", || Box::new(copy::CopyStream::new(false))),
        ("copy_groups", || Box::new(copy::CopyStream::new(true))),
        ("snapshot_files", || Box::new(files::snapshot(false))),
        ("snapshot_manifest", || Box::new(files::snapshot(true))),
        ("archive_files", || Box::new(files::archive(false))),
        ("archive_manifest", || Box::new(files::archive(true))),
        ("archive_tables", || Box::new(tables::Tables::new())),
        ("diff_files", || Box::new(files::diff(false))),
        ("diff_manifest", || Box::new(files::diff(true))),
        ("pages", || Box::new(pages::Pages::new())),
        ("settings", || Box::new(texts::Settings)),
        ("urls", || Box::new(texts::Urls)),
        ("sanitizer", || Box::new(texts::Sanitizer)),
        ("wide_names", || Box::new(texts::WideNames)),
    ]
}

/// What a job said: its kind of answer is enough.
fn said<T>(result: recount::Result<T>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "done".to_owned())
}

//! Lists the files of each folder in `migrations`, so that the program can embed them: `PHASE1: &[(name, text)]`.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let mut lists = String::new();
    for folder in sorted(&Path::new(&root).join("migrations"))? {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name in ASCII").to_uppercase();
        lists += &format!("pub const {name}: &[(&str, &str)] = &[\n");
        for file in sorted(&folder)? {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name in ASCII");
            lists += &format!("    ({name:?}, include_str!({file:?})),\n");
        }
        lists += "];\n";
    }
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("migrations.rs"), lists)
}

fn sorted(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

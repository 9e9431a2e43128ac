//! A new file among the migrations changes none of the sources that embed them, so cargo has to be told to look there.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}

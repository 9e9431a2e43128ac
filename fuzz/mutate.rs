//! Mutations of inputs, drawn by a rule that stays the same (splitmix64).

use serde_json::Value as Json;

pub struct Draw(u64);

/// Numbers at which programs break.
const NUMBERS: [i64; 14] =
    [0, 1, -1, 2, 127, 128, 255, 32_767, 65_535, i32::MAX as i64, i32::MIN as i64, 1 << 40, i64::MAX, i64::MIN];

/// Texts at which programs break.
const TEXTS: [&str; 14] =
    ["", "\0", "'", "\\", "\n\\! id\n", "$$", "--", "../x", "/etc/passwd", "\u{202e}", "\u{1b}[2J", "E'\\'", "1e400", "24h"];

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which may be 0: then 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A seed after one mutation or some.
    pub fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(2) * self.below(6) {
            match self.below(4) {
                0 => self.change_json(&mut input),
                _ => self.change(&mut input, seeds),
            }
        }
        input
    }

    /// A place, as often as not near an end: there formats say what is in them.
    fn place(&mut self, length: usize) -> usize {
        match self.below(4) {
            0 => self.below(length.min(64)),
            1 => length.saturating_sub(1 + self.below(length.min(2048))),
            _ => self.below(length),
        }
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.place(input.len());
        let width = self.of(&[1usize, 2, 4, 8]);
        match self.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.next() as u8,
            2 => {
                let bytes = self.of(&NUMBERS).to_be_bytes();
                put(input, at, &bytes[8 - width..]);
            }
            3 => {
                let bytes = self.of(&NUMBERS).to_le_bytes();
                put(input, at, &bytes[..width]);
            }
            4 => drop(input.drain(at..(at + self.below(16)).min(input.len()))),
            5 => {
                let part = input[at..(at + self.below(64)).min(input.len())].to_vec();
                let to = self.place(input.len());
                input.splice(to..to, part);
            }
            6 => {
                let text = self.of(&TEXTS).bytes();
                input.splice(at..at, text);
            }
            7 => input.truncate(at),
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.place(other.len());
                let part = &other[from..(from + self.below(256)).min(other.len())];
                put(input, at, part);
            }
        }
    }

    /// Changes one value where the input is JSON.
    fn change_json(&mut self, input: &mut Vec<u8>) {
        let Ok(mut json) = serde_json::from_slice::<Json>(input) else { return };
        let leaf = self.node(&mut json);
        *leaf = self.json(leaf);
        *input = serde_json::to_vec_pretty(&json).expect("JSON");
    }

    /// Any value within this one.
    fn node<'j>(&mut self, json: &'j mut Json) -> &'j mut Json {
        let children = match json {
            Json::Object(members) => members.len(),
            Json::Array(items) => items.len(),
            _ => 0,
        };
        if children == 0 || self.below(5) == 0 {
            return json;
        }
        let at = self.below(children);
        let child = match json {
            Json::Object(members) => members.values_mut().nth(at),
            Json::Array(items) => items.get_mut(at),
            _ => None,
        };
        self.node(child.expect("an index below their number"))
    }

    fn json(&mut self, old: &Json) -> Json {
        match self.below(8) {
            0 => Json::Null,
            1 => Json::Bool(true),
            2 | 3 => self.of(&NUMBERS).into(),
            4 => 1e308.into(),
            5 => Json::Array(vec![old.clone(); 1 + self.below(3)]),
            6 => Json::Object([(self.of(&TEXTS).to_owned(), old.clone())].into_iter().collect()),
            _ => self.of(&TEXTS).into(),
        }
    }
}

fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (old, new) in input.iter_mut().skip(at).zip(bytes) {
        *old = *new;
    }
}

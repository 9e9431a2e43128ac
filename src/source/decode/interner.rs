//! Distinct texts, each with a code: the dictionary of a text column as it grows.

use std::str::Utf8Error;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use rustc_hash::FxHashMap;

/// Gives equal texts equal codes, counted from zero in the order of their first appearance.
#[derive(Debug, Default)]
pub struct Interner {
    codes: FxHashMap<Box<[u8]>, i32>,
    texts: Vec<Box<str>>,
    /// The code that last came after each code. Rows come in cycles of a few hundred texts, so this guess mostly holds,
    /// and a comparison is cheaper than a look-up.
    followers: Vec<i32>,
    last: usize,
    /// The last texts that came together, and their codes: one miner has the same scores as the next.
    sequence: (Vec<u8>, Vec<i32>),
    /// The texts as an array, until there is a new one.
    array: Option<ArrayRef>,
}

impl Interner {
    /// The code of a text; an error where it is new and not UTF-8.
    pub fn code(&mut self, text: &[u8]) -> Result<i32, Utf8Error> {
        if let Some(&guess) = self.followers.get(self.last)
            && self.texts[guess as usize].as_bytes() == text
        {
            self.last = guess as usize;
            return Ok(guess);
        }
        let code = match self.codes.get(text) {
            Some(&code) => code,
            None => self.add(text)?,
        };
        if let Some(follower) = self.followers.get_mut(self.last) {
            *follower = code;
        }
        self.last = code as usize;
        Ok(code)
    }

    /// Appends the codes of all texts between separators.
    pub fn codes_between(&mut self, bytes: &[u8], separator: u8, codes: &mut Vec<i32>) -> Result<(), Utf8Error> {
        if self.sequence.0 != bytes || self.sequence.1.is_empty() {
            let before = codes.len();
            let mut rest = Some(bytes);
            while let Some(bytes) = rest {
                let code;
                (code, rest) = self.code_before(bytes, separator)?;
                codes.push(code);
            }
            self.sequence.0.clear();
            self.sequence.0.extend_from_slice(bytes);
            self.sequence.1.clear();
            self.sequence.1.extend_from_slice(&codes[before..]);
        } else {
            codes.extend_from_slice(&self.sequence.1);
        }
        Ok(())
    }

    /// The code of the text in front of a separator, and what stands behind that; `None` where the text goes to the end.
    fn code_before<'b>(&mut self, bytes: &'b [u8], separator: u8) -> Result<(i32, Option<&'b [u8]>), Utf8Error> {
        if let Some(&guess) = self.followers.get(self.last)
            && let Some(rest) = bytes.strip_prefix(self.texts[guess as usize].as_bytes())
            && rest.first().is_none_or(|&byte| byte == separator)
        {
            self.last = guess as usize;
            return Ok((guess, rest.get(1..)));
        }
        match bytes.iter().position(|&byte| byte == separator) {
            Some(at) => Ok((self.code(&bytes[..at])?, Some(&bytes[at + 1..]))),
            None => Ok((self.code(bytes)?, None)),
        }
    }

    /// The code of a text that has come before.
    pub fn known(&self, text: &[u8]) -> Option<i32> {
        self.codes.get(text).copied()
    }

    fn add(&mut self, bytes: &[u8]) -> Result<i32, Utf8Error> {
        let text = std::str::from_utf8(bytes)?;
        let code = i32::try_from(self.texts.len()).expect("fewer distinct texts than a code can count");
        self.codes.insert(bytes.into(), code);
        self.texts.push(text.into());
        self.followers.push(code);
        self.array = None;
        Ok(code)
    }

    /// All texts in the order of their codes. The same array as long as no text is new.
    pub fn values(&mut self) -> ArrayRef {
        let texts = &self.texts;
        self.array.get_or_insert_with(|| Arc::new(StringArray::from_iter_values(texts))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_equal_codes_in_order_of_appearance() {
        let mut interner = Interner::default();
        let codes: Vec<_> = ["b", "a", "b", "", "a", "a", "b"].iter().map(|t| interner.code(t.as_bytes()).unwrap()).collect();
        assert_eq!(codes, [0, 1, 0, 2, 1, 1, 0]);
        assert_eq!(interner.values().len(), 3);
    }

    #[test]
    fn what_is_not_utf8_is_refused_and_not_kept() {
        let mut interner = Interner::default();
        assert!(interner.code(b"\xff").is_err());
        assert!(interner.texts.is_empty());
    }

    #[test]
    fn values_are_one_array_until_a_text_is_new() {
        let mut interner = Interner::default();
        interner.code(b"a").unwrap();
        let first = interner.values();
        interner.code(b"a").unwrap();
        assert!(Arc::ptr_eq(&first, &interner.values()));
        interner.code(b"b").unwrap();
        assert!(!Arc::ptr_eq(&first, &interner.values()));
    }
}

//! SCRAM-SHA-256 (RFC 5802, RFC 7677), bound to the TLS connection where the server can (`tls-server-end-point`, RFC 5929).

use std::num::NonZeroU32;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::error::{Error, ErrorKind, Result};

/// A server that asks for more rounds only wants to keep us busy: 4096 are usual.
const ROUNDS_MAX: u32 = 2_000_000;

/// One exchange with a server.
pub(super) struct Scram {
    /// The header, with what of the connection it is bound to.
    binding: Vec<u8>,
    header: &'static str,
    nonce: String,
    password: String,
    /// Key and text of the signature that only a server that knows the password can give.
    expected: Option<(hmac::Key, String)>,
}

impl Scram {
    /// `bound`: the hash of the server's certificate, where the exchange is to be bound to the connection. `could`: we could have bound
    /// it, had the server offered to.
    pub fn new(password: &str, bound: Option<Vec<u8>>, could: bool) -> std::result::Result<Scram, String> {
        let mut random = [0; 18];
        SystemRandom::new().fill(&mut random).map_err(|_| "the system gives no random numbers")?;
        Ok(Scram::with_nonce(password, bound, could, BASE64_STANDARD.encode(random)))
    }

    fn with_nonce(password: &str, bound: Option<Vec<u8>>, could: bool, nonce: String) -> Scram {
        let header = match (&bound, could) {
            (Some(_), _) => "p=tls-server-end-point,,",
            (None, true) => "y,,",
            (None, false) => "n,,",
        };
        let binding = [header.as_bytes(), &bound.unwrap_or_default()].concat();
        // A password that SASLprep refuses is taken as it is, as PostgreSQL itself does.
        let password = stringprep::saslprep(password).map_or_else(|_| password.to_owned(), |password| password.into_owned());
        Scram { binding, header, nonce, password, expected: None }
    }

    fn first_bare(&self) -> String {
        // The server knows the user from the start of the session.
        format!("n=,r={}", self.nonce)
    }

    pub fn first(&self) -> String {
        format!("{}{}", self.header, self.first_bare())
    }

    /// Answers the server's challenge.
    pub fn answer(&mut self, challenge: &str) -> std::result::Result<String, &'static str> {
        const BROKEN: &str = "the server's challenge is malformed";
        let mut parts = challenge.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(BROKEN);
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() <= self.nonce.len() {
            return Err("the server's challenge is for another session");
        }
        let salt = BASE64_STANDARD.decode(salt).map_err(|_| BROKEN)?;
        let rounds: NonZeroU32 = rounds.parse().map_err(|_| BROKEN)?;
        if rounds.get() > ROUNDS_MAX {
            return Err("the server asks for more rounds of hashing than any password needs");
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, self.password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client = hmac::sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, client.as_ref());
        let last = format!("c={},r={nonce}", BASE64_STANDARD.encode(&self.binding));
        let all = format!("{},{challenge},{last}", self.first_bare());
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, stored.as_ref()), all.as_bytes());
        let proof: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = hmac::sign(&salted, b"Server Key");
        self.expected = Some((hmac::Key::new(hmac::HMAC_SHA256, server.as_ref()), all));
        Ok(format!("{last},p={}", BASE64_STANDARD.encode(proof)))
    }

    /// Whether the server has shown that it knows the password as well.
    pub fn is_proved(&self, last: &str) -> bool {
        let given = last.strip_prefix("v=").and_then(|given| BASE64_STANDARD.decode(given).ok());
        match (given, &self.expected) {
            (Some(given), Some((key, all))) => hmac::verify(key, all.as_bytes(), &given).is_ok(),
            _ => false,
        }
    }
}

/// A password of our own making, and what a server needs to check it: the password itself never has to be in a statement.
pub struct NewPassword {
    pub password: String,
    /// As `CREATE ROLE … PASSWORD` takes it.
    pub verifier: String,
}

impl NewPassword {
    pub fn draw() -> Result<NewPassword> {
        let (mut secret, mut salt) = ([0; 24], [0; 16]);
        let random = SystemRandom::new();
        let drawn = random.fill(&mut secret).and_then(|()| random.fill(&mut salt));
        drawn.map_err(|_| Error::new(ErrorKind::Io, "making a password", "the system gives no random numbers"))?;
        // Letters and digits, and two signs that mean nothing in a URL, a shell or a file of settings.
        let password = BASE64_URL_SAFE_NO_PAD.encode(secret);
        Ok(NewPassword { verifier: verifier(&password, &salt), password })
    }
}

/// As many as PostgreSQL takes by itself.
const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

fn verifier(password: &str, salt: &[u8]) -> String {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, password.as_bytes(), &mut salted);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&salted, b"Client Key").as_ref());
    let server = hmac::sign(&salted, b"Server Key");
    let [salt, stored, server] = [salt, stored.as_ref(), server.as_ref()].map(|bytes| BASE64_STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${ROUNDS}:{salt}${stored}:{server}")
}

/// The hash of a certificate that binds an exchange to it: by the hash of its own signature, but never a weaker one than SHA-256.
/// `None` where the signature's algorithm does not say which hash it has.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (whole, _) = element(certificate)?;
    let (_, rest) = element(whole)?;
    let (algorithm, _) = element(rest)?;
    let (oid, _) = element(algorithm)?;
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let hash = match oid {
        [prefix @ .., 4 | 5 | 11] if prefix == RSA => &digest::SHA256,
        [prefix @ .., 12] if prefix == RSA => &digest::SHA384,
        [prefix @ .., 13] if prefix == RSA => &digest::SHA512,
        [prefix @ .., 1] | [prefix @ .., 3, 2] if prefix == ECDSA => &digest::SHA256,
        [prefix @ .., 3, 3] if prefix == ECDSA => &digest::SHA384,
        [prefix @ .., 3, 4] if prefix == ECDSA => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// The content of the first DER element, and what comes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|bytes| bytes.len() <= 4)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest.get(count..)?)
        }
    };
    Some((rest.get(..length)?, rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, with the user's name left out as PostgreSQL has it, so its proofs are not those of the RFC; its keys are.
    #[test]
    fn an_exchange_is_as_the_rfc_has_it() {
        let mut scram = Scram::with_nonce("pencil", None, false, "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = scram.answer(challenge).unwrap();
        assert!(answer.starts_with("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="), "{answer}");
        let (key, all) = scram.expected.as_ref().unwrap();
        let proved = format!("v={}", BASE64_STANDARD.encode(hmac::sign(key, all.as_bytes())));
        assert!(scram.is_proved(&proved) && !scram.is_proved("v=AAAA") && !scram.is_proved("e=other-error"));
    }

    #[test]
    fn a_hostile_challenge_is_refused() {
        let answer = |challenge: &str| Scram::with_nonce("p", None, false, "abc".to_owned()).answer(challenge);
        assert!(answer("r=abcdef,s=QSXCR+Q6sek8bf92,i=4096").is_ok());
        for challenge in
            ["", "r=abc,s=QUJD,i=1", "r=xbcdef,s=QUJD,i=1", "r=abcd,s=*,i=1", "r=abcd,s=QUJD,i=0", "r=abcd,s=QUJD,i=4294967295"]
        {
            assert!(answer(challenge).is_err(), "{challenge}");
        }
    }

    #[test]
    fn a_binding_takes_the_hash_of_the_signature() {
        // SEQUENCE { SEQUENCE {}, SEQUENCE { OID sha384WithRSAEncryption } }
        let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
        let certificate = [&[0x30, 0x0f, 0x30, 0x00, 0x30, 0x0b][..], &oid].concat();
        assert_eq!(end_point(&certificate).map(|hash| hash.len()), Some(48));
        assert_eq!(end_point(&[0x30, 0x84]), None);
        assert_eq!(end_point(&[]), None);
    }
}

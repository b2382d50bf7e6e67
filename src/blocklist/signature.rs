//! Signatures over list files, as minisign makes them: prehashed Ed25519, one small file per signer, checked by plain `minisign -V`.
//!
//! What a signature says is in its trusted comment, which it covers: which list, which serial, until when, which format, how long,
//! which digest. So a signature for one file never passes for another, and a person can read what was signed. Which keys count is for
//! [`super::keys`] to say.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::str::FromStr;

use data_encoding::HEXLOWER;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use ring::digest::{Context, SHA256};

use super::file::List;
use super::format;
use super::refusal::Refusal;

/// Longest signature file, in octets. They have about 350.
pub const MAX_SIGNATURE: usize = 4096;
/// Most signatures with one list.
pub const MAX_SIGNATURES: usize = 16;

/// What a signature says about a file, in words of one line: `postern-list id=scam serial=12 expires=never format=1 length=4096
/// sha256=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The list.
    pub id: String,
    /// Its serial.
    pub serial: u64,
    /// Until when it may be accepted, in seconds since 1970.
    pub expires: Option<u64>,
    /// Format version of the file.
    pub format: u16,
    /// Octets.
    pub length: u64,
    /// SHA-256 of the file, which `sha256sum` agrees with.
    pub sha256: [u8; 32],
}

impl Comment {
    /// What is to be signed about this list and its file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of(list: &List, file: &File) -> io::Result<Comment> {
        let manifest = list.manifest();
        let (id, serial, expires) = (manifest.id.clone(), manifest.serial, manifest.expires);
        Ok(Comment { id, serial, expires, format: list.format(), length: list.file_bytes(), sha256: sha256(file)? })
    }

    /// What differs from `other`, if anything.
    pub fn difference(&self, other: &Comment) -> Option<&'static str> {
        [
            ("list id", self.id != other.id),
            ("serial", self.serial != other.serial),
            ("expiry", self.expires != other.expires),
            ("format", self.format != other.format),
            ("length", self.length != other.length),
            ("digest", self.sha256 != other.sha256),
        ]
        .into_iter()
        .find_map(|(what, differs)| differs.then_some(what))
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = self.expires.map_or_else(|| "never".to_owned(), |e| e.to_string());
        write!(f, "postern-list id={} serial={} expires={expires} format={} ", self.id, self.serial, self.format)?;
        write!(f, "length={} sha256={}", self.length, HEXLOWER.encode(&self.sha256))
    }
}

/// The text is no comment of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the trusted comment does not speak of a list")]
pub struct NoComment;

impl FromStr for Comment {
    type Err = NoComment;

    fn from_str(text: &str) -> Result<Comment, NoComment> {
        let mut words = text.split(' ');
        let mut word = |key: &str| words.next().and_then(|w| w.strip_prefix(key)).ok_or(NoComment);
        word("postern-list")?;
        let id = word("id=")?.to_owned();
        let serial = word("serial=")?.parse().map_err(|_| NoComment)?;
        let expires = match word("expires=")? {
            "never" => None,
            end => Some(end.parse().map_err(|_| NoComment)?),
        };
        let format = word("format=")?.parse().map_err(|_| NoComment)?;
        let length = word("length=")?.parse().map_err(|_| NoComment)?;
        let sha256 = HEXLOWER.decode(word("sha256=")?.as_bytes()).ok().and_then(|d| d.try_into().ok()).ok_or(NoComment)?;
        if words.next().is_some() || format == 0 || format > format::VERSION {
            return Err(NoComment);
        }
        Ok(Comment { id, serial, expires, format, length, sha256 })
    }
}

/// SHA-256 of a whole file.
pub(super) fn sha256(mut file: &File) -> io::Result<[u8; 32]> {
    file.rewind()?;
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(context.finish().as_ref().try_into().expect("invariant: SHA-256 has 32 octets")),
            length => context.update(&buffer[..length]),
        }
    }
}

/// Id of a key as minisign prints it: sixteen hexadecimal digits.
pub fn key_id(key: &[u8]) -> String {
    key.iter().rev().map(|octet| format!("{octet:02X}")).collect()
}

/// A signature as it came, with the id of the key that it claims.
#[derive(Clone)]
pub struct Signature {
    key: String,
    text: String,
    parsed: SignatureBox,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", self.key)
    }
}

impl Signature {
    /// Reads a `.minisig` file; signatures of the old kind, which are not prehashed, are refused.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`] with `?` for the key where the text is none.
    pub fn read(text: &str) -> Result<Signature, Refusal> {
        let bad = || Refusal::BadSignature { key: "?".into() };
        if text.len() > MAX_SIGNATURE {
            return Err(bad());
        }
        let parsed = SignatureBox::from_string(text).map_err(|_| bad())?;
        if !parsed.is_prehashed() {
            return Err(bad());
        }
        Ok(Signature { key: key_id(parsed.keynum()), text: text.to_owned(), parsed })
    }

    /// Id of the key that it claims to be by.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks the signature over `file` by `key`, and gives the trusted comment, which it covers.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`], or what the file system says.
    pub fn check(&self, key: &PublicKey, mut file: &File) -> Result<String, Refusal> {
        let bad = || Refusal::BadSignature { key: self.key.clone() };
        file.rewind()?;
        minisign::verify(key, &self.parsed, file, true, false, false).map_err(|_| bad())?;
        self.parsed.trusted_comment().map_err(|_| bad())
    }
}

/// A key that signs. The box has one of its own; a curator's is kept by minisign, and opened with its password.
pub struct Signer {
    public: PublicKey,
    secret: SecretKey,
}

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file system said no.
    #[error("cannot read or write the key file")]
    Io(#[from] io::Error),
    /// No minisign key, or a wrong password.
    #[error("the key cannot be used: {0}")]
    Key(String),
}

impl From<minisign::PError> for SignerError {
    fn from(error: minisign::PError) -> SignerError {
        SignerError::Key(error.to_string())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.key())
    }
}

impl Signer {
    /// A new key.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn generate() -> Result<Signer, SignerError> {
        let KeyPair { pk: public, sk: secret } = KeyPair::generate_unencrypted_keypair()?;
        Ok(Signer { public, secret })
    }

    /// Reads a secret key as minisign keeps it; `password` opens one that is locked. No password is ever asked for here.
    ///
    /// # Errors
    /// [`SignerError::Key`].
    pub fn read(text: &str, password: Option<&str>) -> Result<Signer, SignerError> {
        let boxed = SecretKeyBox::from_string(text)?;
        let secret = match password {
            Some(password) => boxed.into_secret_key(Some(password.to_owned()))?,
            None => boxed.into_unencrypted_secret_key()?,
        };
        Ok(Signer { public: PublicKey::from_secret_key(&secret)?, secret })
    }

    /// The secret key as minisign keeps it, without a password: the file's mode is what protects it.
    ///
    /// # Errors
    /// [`SignerError::Key`].
    pub fn to_text(&self) -> Result<String, SignerError> {
        Ok(self.secret.to_box(Some("postern secret key"))?.into_string())
    }

    /// Id of the key.
    pub fn key(&self) -> String {
        key_id(self.public.keynum())
    }

    /// The public half as `minisign -P` takes it.
    pub fn public(&self) -> String {
        self.public.to_base64()
    }

    /// Signs a list file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sign(&self, list: &List, file: &File) -> Result<Signature, SignerError> {
        let comment = Comment::of(list, file)?;
        self.sign_with(file, &comment.to_string())
    }

    /// Signs any file with a trusted comment.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sign_with(&self, mut file: &File, comment: &str) -> Result<Signature, SignerError> {
        file.rewind()?;
        let untrusted = format!("signature by key {}", self.key());
        let signed = minisign::sign(Some(&self.public), &self.secret, file, Some(comment), Some(&untrusted))?;
        Ok(Signature { key: self.key(), text: signed.to_string(), parsed: signed })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests read files")]
    use super::*;
    use crate::blocklist::parse::Reading;
    use crate::blocklist::scratch::{Scratch, list};

    #[test]
    fn a_comment_round_trips_and_is_read_strictly() {
        let comment = Comment { id: "scam".into(), serial: 7, expires: Some(9), format: 1, length: 4096, sha256: [7; 32] };
        assert_eq!(comment.to_string().parse(), Ok(comment.clone()));
        let other = Comment { expires: None, ..comment.clone() };
        assert_eq!(other.to_string().parse(), Ok(other.clone()));
        assert_eq!(comment.difference(&other), Some("expiry"));
        for bad in ["", "postern-list id=scam", &format!("{comment} more=1"), &comment.to_string().replace("format=1", "format=2")] {
            assert_eq!(bad.parse::<Comment>(), Err(NoComment), "{bad}");
        }
    }

    #[test]
    fn a_signature_fits_its_file_only() {
        let scratch = Scratch::new();
        let (a, b) = (list(&scratch, "a", "a.example\n", Reading::default()), list(&scratch, "b", "b.example\n", Reading::default()));
        let (fa, fb) = (File::open(scratch.file("a.plist")).unwrap(), File::open(scratch.file("b.plist")).unwrap());
        let signer = Signer::generate().unwrap();
        let signature = Signature::read(signer.sign(&a, &fa).unwrap().text()).unwrap();
        assert_eq!(signature.key(), signer.key());
        assert_eq!(signature.check(&signer.public, &fa).unwrap(), Comment::of(&a, &fa).unwrap().to_string());
        assert_eq!(signature.check(&signer.public, &fb).unwrap_err().label(), "bad_signature");
        assert_eq!(signature.check(&Signer::generate().unwrap().public, &fa).unwrap_err().label(), "bad_signature");
        let changed = signature.text().replace("serial=1", "serial=2");
        assert_eq!(Signature::read(&changed).unwrap().check(&signer.public, &fa).unwrap_err().label(), "bad_signature");
        assert_eq!(b.len(), 1);
        let again = Signer::read(&signer.to_text().unwrap(), None).unwrap();
        assert_eq!(again.public(), signer.public());
    }

    #[test]
    fn any_text_as_signature_is_refused_without_a_panic() {
        for text in ["", "untrusted comment: x", "untrusted comment: x\nAAAA\ntrusted comment: y\nAAAA", &"x\n".repeat(5000)] {
            assert_eq!(Signature::read(text).unwrap_err().label(), "bad_signature");
        }
    }
}

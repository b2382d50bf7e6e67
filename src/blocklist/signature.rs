//! Signatures over list files, as minisign makes them: prehashed Ed25519, one small file per signer, checked by plain `minisign -V`.
//!
//! What a signature says is in its trusted comment, which it covers: which list, which serial, until when, which format, how long,
//! which digest. So a signature for one file never passes for another, and a person can read what was signed. Which keys count is for
//! [`super::keys`] to say.
#![allow(clippy::disallowed_methods, reason = "keys and signatures are files")]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::file::List;
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
        Ok(Comment::with(list, sha256(file)?))
    }

    /// As [`Comment::of`], for a file whose digest is known.
    pub fn with(list: &List, sha256: [u8; 32]) -> Comment {
        let manifest = list.manifest();
        let (id, serial, expires) = (manifest.id.clone(), manifest.serial, manifest.expires);
        Comment { id, serial, expires, format: list.format(), length: list.file_bytes(), sha256 }
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
        // A later format may well have been written for readers of this one; the header of the file says whether it was.
        if words.next().is_some() || format == 0 {
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

/// A public key as `minisign -P` takes it, with its id; `None` where the text is none.
pub fn public_key(text: &str) -> Option<String> {
    PublicKey::from_base64(text).ok().map(|key| key_id(key.keynum()))
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

    /// The trusted comment, checked by the signature over it alone: what `key` said can be believed before the file has come.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`].
    pub fn said(&self, key: &PublicKey) -> Result<String, Refusal> {
        let said = || {
            let mut lines = self.text.lines().skip(1);
            let signature = BASE64.decode(lines.next()?.trim().as_bytes()).ok()?;
            let comment = lines.next()?.strip_prefix("trusted comment: ")?.trim();
            let over_both = BASE64.decode(lines.next()?.trim().as_bytes()).ok()?;
            // Both files begin with two octets of algorithm and eight of key id; minisign signs the signature with the comment.
            let (public, signed) = (key.to_bytes(), [signature.get(10..74)?, comment.as_bytes()].concat());
            UnparsedPublicKey::new(&ED25519, public.get(10..42)?).verify(&signed, &over_both).ok()?;
            Some(comment.to_owned())
        };
        said().ok_or_else(|| Refusal::BadSignature { key: self.key.clone() })
    }

    /// Checks the signature over `file` by `key`, and gives the trusted comment, which it covers.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`], or what the file system says.
    pub fn check<F: Read + Seek>(&self, key: &PublicKey, mut file: F) -> Result<String, Refusal> {
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
    /// Others than its owner may read or change the file.
    #[error("{} may be read by others than its owner\nhint: chmod 600 it; if others had a chance to read it, revoke the key", .0.display())]
    Loose(PathBuf),
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

    /// A new key in a new file that its owner alone can read.
    ///
    /// # Errors
    /// Where the file is there already, or cannot be written.
    pub fn create(path: &Path) -> Result<Signer, SignerError> {
        let signer = Signer::generate()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(signer.to_text()?.as_bytes())?;
        file.sync_all()?;
        super::durable::sync_directory(path)?;
        Ok(signer)
    }

    /// Reads the key in a file that its owner alone can read.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn open(path: &Path, password: Option<&str>) -> Result<Signer, SignerError> {
        let mut file = File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(SignerError::Loose(path.to_owned()));
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Signer::read(&text, password)
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

    /// The public half as a file that `minisign -p` takes.
    ///
    /// # Errors
    /// [`SignerError::Key`].
    pub fn public_file(&self) -> Result<String, SignerError> {
        Ok(self.public.to_box()?.into_string())
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
    pub fn sign_with<F: Read + Seek>(&self, mut file: F, comment: &str) -> Result<Signature, SignerError> {
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
        for bad in ["", "postern-list id=scam", &format!("{comment} more=1"), &comment.to_string().replace("format=1", "format=0")] {
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
        assert_eq!(signature.said(&signer.public).unwrap(), Comment::of(&a, &fa).unwrap().to_string());
        assert!(
            Signature::read(&changed).unwrap().said(&signer.public).is_err()
                && signature.said(&Signer::generate().unwrap().public).is_err()
        );
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

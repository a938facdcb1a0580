//! Blocks of headers as SPDY/3 compresses them: one zlib stream for each direction of a connection, begun with a dictionary.

use bytes::{Buf as _, BufMut as _};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::Error;

/// What the protocol expects to be in headers: words with their length, and a tail.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
    Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov \
    Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=\
    iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS.split(' ').map(|word| word.replace('_', " ")) {
        put_text(&mut bytes, &word);
    }
    bytes.put_slice(TAIL.as_bytes());
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.put_u32(u32::try_from(text.len()).unwrap_or(0));
    bytes.put_slice(text.as_bytes());
}

/// Names in lower case, with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub Vec<(String, String)>);

impl Headers {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }
}

/// So large may a block become; those of port forwarding have a hundred bytes.
const LIMIT: usize = 64 << 10;

/// Reads the blocks of one direction, which must come in order.
pub(super) struct Reader(Decompress);

impl Reader {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<Headers, Error> {
        let mut plain = Vec::new();
        loop {
            plain.reserve(1 << 10);
            let before = self.0.total_in();
            let done = self.0.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            block.advance(usize::try_from(self.0.total_in() - before).map_err(|_| Error::Headers)?);
            match done {
                Ok(_) if block.is_empty() && plain.len() < plain.capacity() => return parse(&plain),
                Ok(_) if plain.len() > LIMIT => return Err(Error::Headers),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| Error::Headers)?;
                }
                Err(_) => return Err(Error::Headers),
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, Error> {
    let count = block.try_get_u32().map_err(|_| Error::Headers)?;
    let mut text = || {
        let length = usize::try_from(block.try_get_u32().map_err(|_| Error::Headers)?).unwrap_or(usize::MAX);
        let (text, rest) = block.split_at_checked(length).ok_or(Error::Headers)?;
        block = rest;
        Ok::<_, Error>(String::from_utf8_lossy(text).into_owned())
    };
    (0..count).map(|_| Ok((text()?, text()?))).collect::<Result<_, Error>>().map(Headers)
}

/// Writes the blocks of one direction.
pub(super) struct Writer(Compress);

impl Writer {
    pub(super) fn new() -> Result<Self, Error> {
        let mut compress = Compress::new(Compression::default(), true);
        compress.set_dictionary(&dictionary()).map_err(|_| Error::Headers)?;
        Ok(Self(compress))
    }

    pub(super) fn write(&mut self, headers: &Headers) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.0.len()).unwrap_or(0));
        for (name, value) in &headers.0 {
            put_text(&mut plain, name);
            put_text(&mut plain, value);
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let before = self.0.total_in();
        self.0.compress_vec(&plain, &mut block, FlushCompress::Sync).map_err(|_| Error::Headers)?;
        let all = self.0.total_in() - before == plain.len() as u64 && block.len() < block.capacity();
        all.then_some(block).ok_or(Error::Headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((b << 16) | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_are_read_as_they_were_written_one_after_the_other() {
        let (mut writer, mut reader) = (Writer::new().expect("a dictionary"), Reader::new());
        for (port, kind) in [("80", "error"), ("80", "data"), ("443", "error")] {
            let headers = [("port", port), ("streamtype", kind)].map(|(k, v)| (k.to_owned(), v.to_owned()));
            let headers = Headers(headers.into());
            let block = writer.write(&headers).expect("written");
            assert_eq!(reader.read(&block).expect("read"), headers);
        }
        assert_eq!(
            reader.read(&writer.write(&Headers::default()).expect("written")).expect("read"),
            Headers::default()
        );
        assert!(reader.read(b"nonsense").is_err());
    }

    #[test]
    fn a_block_that_lies_about_its_lengths_is_refused() {
        for block in [
            &b""[..],
            &[0, 0, 0, 1],
            &[0, 0, 0, 1, 255, 255, 255, 255],
            &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(parse(block).is_err(), "{block:?}");
        }
    }
}

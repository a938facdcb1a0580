//! Frames of SPDY/3.1, as far as Kubernetes uses them: streams that are opened by the client, data, resets and pings. Pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{
    Error,
    header::{Headers, Reader, Writer},
};

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;
const CONTROL: u32 = 0x8000_0000;
const VERSION: u16 = 3;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open {
        stream: u32,
        headers: Headers,
        last: bool,
    },
    Data {
        stream: u32,
        bytes: Bytes,
        last: bool,
    },
    Reset(u32),
    Ping(u32),
    /// It has no meaning here: settings, windows and good-byes.
    Other,
}

/// Finds frames in what comes, however it is cut.
pub(super) struct Decoder {
    rest: BytesMut,
    headers: Reader,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { rest: BytesMut::new(), headers: Reader::new() }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next frame that is there as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Error> {
        let Some(mut head) = self.rest.get(..8) else { return Ok(None) };
        let (first, second) = (head.get_u32(), head.get_u32());
        let (flags, length) = (second.to_be_bytes()[0], (second & 0x00ff_ffff) as usize);
        if self.rest.len() < 8 + length {
            return Ok(None);
        }
        self.rest.advance(8);
        let body = self.rest.split_to(length).freeze();
        let last = flags & FIN != 0;
        if first & CONTROL == 0 {
            return Ok(Some(Frame::Data { stream: first, bytes: body, last }));
        }
        let [_, version, _, _] = first.to_be_bytes();
        if u16::from(version) != VERSION {
            return Err(Error::Version(version));
        }
        self.control((first & 0xffff) as u16, body, last).map(Some)
    }

    fn control(&mut self, kind: u16, mut body: Bytes, last: bool) -> Result<Frame, Error> {
        let mut number = || body.try_get_u32().map_err(|_| Error::Short);
        Ok(match kind {
            SYN_STREAM => {
                let stream = number()? & !CONTROL;
                // The stream that it belongs to, its priority and its slot.
                let block = body.get(6..).ok_or(Error::Short)?;
                Frame::Open { stream, headers: self.headers.read(block)?, last }
            }
            RST_STREAM => Frame::Reset(number()? & !CONTROL),
            PING => Frame::Ping(number()?),
            _ => Frame::Other,
        })
    }
}

/// Why a client opens no stream that it wanted.
pub(super) const REFUSED: u32 = 3;

fn control(kind: u16, flags: u8, body: &[&[u8]]) -> Bytes {
    let length = body.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap_or(0));
    body.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

/// The answer to a stream that was opened.
pub(super) fn reply(stream: u32, writer: &mut Writer) -> Result<Bytes, Error> {
    let block = writer.write(&Headers::default())?;
    Ok(control(SYN_REPLY, 0, &[&stream.to_be_bytes(), &block]))
}

pub(super) fn data(stream: u32, bytes: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + bytes.len());
    frame.put_u32(stream);
    frame.put_u32(u32::from(if last { FIN } else { 0 }) << 24 | u32::try_from(bytes.len()).unwrap_or(0));
    frame.put_slice(bytes);
    frame.freeze()
}

pub(super) fn reset(stream: u32, why: u32) -> Bytes {
    control(RST_STREAM, 0, &[&stream.to_be_bytes(), &why.to_be_bytes()])
}

pub(super) fn ping(number: u32) -> Bytes {
    control(PING, 0, &[&number.to_be_bytes()])
}

/// No stream after this one is served any more.
pub(super) fn goodbye(last: u32) -> Bytes {
    control(GOAWAY, 0, &[&last.to_be_bytes(), &0_u32.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(stream: u32, headers: &Headers, writer: &mut Writer) -> Bytes {
        let block = writer.write(headers).expect("written");
        control(SYN_STREAM, FIN, &[&stream.to_be_bytes(), &[0; 6], &block])
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let headers = Headers(vec![("port".to_owned(), "80".to_owned())]);
        let mut writer = Writer::new().expect("a dictionary");
        let sent = [
            open(1, &headers, &mut writer),
            data(1, b"words", false),
            control(9, 0, &[&[0; 8]]),
            open(3, &headers, &mut writer),
            data(3, b"", true),
            ping(7),
            reset(1, REFUSED),
        ];
        let expected = [
            Frame::Open { stream: 1, headers: headers.clone(), last: true },
            Frame::Data { stream: 1, bytes: Bytes::from_static(b"words"), last: false },
            Frame::Other,
            Frame::Open { stream: 3, headers, last: true },
            Frame::Data { stream: 3, bytes: Bytes::new(), last: true },
            Frame::Ping(7),
            Frame::Reset(1),
        ];
        let sent = sent.concat();
        for size in [1, 7, sent.len()] {
            let (mut decoder, mut found) = (Decoder::new(), Vec::new());
            for piece in sent.chunks(size) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next().expect("a frame") {
                    found.push(frame);
                }
            }
            assert_eq!(found, expected, "cut by {size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in
            [&[0x80, 2, 0, 1, 0, 0, 0, 0][..], &[0x80, 3, 0, 1, 0, 0, 0, 0], &[0x80, 3, 0, 6, 0, 0, 0, 1, 9]]
        {
            let mut decoder = Decoder::new();
            decoder.feed(bytes);
            assert!(decoder.next().is_err(), "{bytes:?}");
        }
    }
}

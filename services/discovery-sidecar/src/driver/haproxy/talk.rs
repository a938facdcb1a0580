//! The runtime API: a line is a command, and with a prompt it is known where its answer ends.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::domain::Failure;

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(3);
const PROMPT: &[u8] = b"\n> ";
/// More than the servers of any one HAProxy take.
const LONGEST: usize = 64 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the runtime API. HAProxy ends one that is silent for some seconds, so none is kept.
pub(super) struct Talk {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Talk {
    pub(super) async fn begin(socket: &str) -> Result<Self, Failure> {
        let open = async {
            let stream: Box<dyn Stream> = match socket.starts_with('/') {
                true => Box::new(UnixStream::connect(socket).await?),
                false => Box::new(TcpStream::connect(socket).await?),
            };
            Ok::<_, std::io::Error>(stream)
        };
        let stream = match timeout(WITHIN, open).await {
            Ok(opened) => opened.map_err(|e| failed(&format!("{socket} cannot be reached: {e}")))?,
            Err(_) => return Err(failed(&format!("{socket} did not answer in time"))),
        };
        let mut talk = Self { stream, read: Vec::new() };
        let greeted = talk.ask_all(&["prompt".to_owned()]).await;
        greeted.map_err(|e| {
            Failure::Unavailable(format!("{e}; expected the stats socket of a HAProxy at {socket}"))
        })?;
        Ok(talk)
    }

    pub(super) async fn ask(&mut self, command: &str) -> Result<String, Failure> {
        let mut answers = self.ask_all(&[command.to_owned()]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// The answers to each of these groups.
    pub(super) async fn ask_each(&mut self, groups: &[&[String]]) -> Result<Vec<Vec<String>>, Failure> {
        let mut answers = self.ask_all(&groups.concat()).await?.into_iter();
        Ok(groups.iter().map(|commands| answers.by_ref().take(commands.len()).collect()).collect())
    }

    /// One answer per command; they are all sent before the first is read.
    pub(super) async fn ask_all(&mut self, commands: &[String]) -> Result<Vec<String>, Failure> {
        if commands.is_empty() {
            // An empty line is a command as well, and asks for help.
            return Ok(Vec::new());
        }
        let lines = commands.join("\n") + "\n";
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let write = async {
            writer.write_all(lines.as_bytes()).await.map_err(|e| failed(&format!("writing broke off: {e}")))
        };
        let read = async {
            let mut answers = Vec::with_capacity(commands.len());
            for _ in commands {
                answers.push(answer(&mut reader, &mut self.read).await?);
            }
            Ok(answers)
        };
        futures::future::try_join(write, read).await.map(|((), answers)| answers)
    }
}

async fn answer(reader: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Result<String, Failure> {
    let mut searched = 0;
    loop {
        let found = read[searched..].windows(PROMPT.len()).position(|window| window == PROMPT);
        if let Some(end) = found.map(|at| at + searched) {
            let rest = read.split_off(end + PROMPT.len());
            let answer = std::mem::replace(read, rest);
            return Ok(String::from_utf8_lossy(&answer[..end]).trim().to_owned());
        }
        searched = read.len().saturating_sub(PROMPT.len());
        match timeout(WITHIN, reader.read_buf(read)).await {
            Err(_) => return Err(failed("no answer in time")),
            Ok(Err(e)) => return Err(failed(&format!("reading broke off: {e}"))),
            Ok(Ok(0)) => return Err(failed("the connection was closed")),
            Ok(Ok(_)) if read.len() > LONGEST => return Err(failed("the answer is too long")),
            Ok(Ok(_)) => (),
        }
    }
}

fn failed(words: &str) -> Failure {
    Failure::Unavailable(format!("haproxy: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_end_at_the_prompt_wherever_the_pieces_end() {
        for size in [1, 2, 3, 7, 100] {
            let (mut near, far) = tokio::io::duplex(size);
            let mut talk = Talk { stream: Box::new(far), read: Vec::new() };
            let speak = async {
                near.write_all(b"1\n# header > x\nrow\n\n> \n> New server registered.\n\n> ")
                    .await
                    .expect("writes");
                // What was asked is not looked at here.
                let mut asked = [0; 6];
                near.read_exact(&mut asked).await.expect("reads");
            };
            let asked = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
            let ((), answers) = futures::join!(speak, talk.ask_all(&asked));
            assert_eq!(
                answers,
                Ok(vec!["1\n# header > x\nrow".into(), String::new(), "New server registered.".into()])
            );
        }
    }
}

//! A wire between two programs that somebody can hold, cut, or make slow: a TCP proxy.

use std::{io::Result, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// How the wire treats what passes through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Passes everything.
    #[default]
    Open,
    /// Holds everything this long first.
    Slow(Duration),
    /// Passes questions and no answers. What is open is closed when the mood changes: who asked there was heard, and is
    /// never told so.
    Deaf,
    /// Holds everything until the mood changes, and connections stay open: a network that was cut somewhere.
    Hole,
    /// Closes every connection, and each new one at once.
    Cut,
}

/// The proxy; it ends with its owner.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    mood: watch::Sender<Mood>,
    _passing: JoinSet<()>,
}

/// More than any frame that passes at once needs.
const CHUNK: usize = 64 * 1024;

impl Wire {
    /// Begins to pass on to `address`, such as `127.0.0.1:4222`. It need not answer yet.
    pub async fn to(address: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, mood) = (listener.local_addr()?.port(), watch::Sender::default());
        let (mut passing, moods) = (JoinSet::new(), mood.subscribe());
        passing.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, address.clone(), moods.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, mood, _passing: passing })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on it treats everything like this.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

/// One connection, until either end or the mood closes it.
async fn carry(near: TcpStream, address: String, mood: watch::Receiver<Mood>) {
    if *mood.borrow() == Mood::Cut {
        return;
    }
    // Nobody listens there: then nobody does here.
    let Ok(far) = TcpStream::connect(address).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        // First: an answer that is held must not get through when its time is over.
        biased;
        () = over(mood.clone()) => (),
        () = pass(near_in, far_out, mood.clone(), false) => (),
        () = pass(far_in, near_out, mood, true) => (),
    }
}

/// Waits until the mood closes what is open.
async fn over(mut mood: watch::Receiver<Mood>) {
    let ending = async {
        let deaf = *mood.wait_for(|mood| matches!(mood, Mood::Cut | Mood::Deaf)).await? == Mood::Deaf;
        if deaf {
            mood.wait_for(|mood| *mood != Mood::Deaf).await?;
        }
        Ok::<(), watch::error::RecvError>(())
    };
    // An error says that the wire is gone, which ends this all the same.
    let _ = ending.await;
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mood: watch::Receiver<Mood>,
    answers: bool,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let passes = |mood: &Mood| match mood {
            Mood::Open | Mood::Slow(_) => true,
            Mood::Deaf => !answers,
            Mood::Hole | Mood::Cut => false,
        };
        let now = mood.wait_for(passes).await.map(|mood| *mood);
        match now {
            Ok(Mood::Slow(pause)) => tokio::time::sleep(pause).await,
            Ok(_) => (),
            Err(_) => return,
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One who answers each byte with the next higher one.
    async fn server() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a port")
    }

    async fn serve(listener: TcpListener, heard: watch::Sender<u32>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                heard.send_modify(|count| *count += 1);
                if stream.write_all(&[byte[0] + 1]).await.is_err() {
                    break;
                }
            }
        }
    }

    async fn ask(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte]).await?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await.map(|_| answer[0])
    }

    #[tokio::test]
    async fn a_wire_passes_holds_swallows_answers_and_cuts() {
        let listener = server().await;
        let wire = Wire::to(listener.local_addr().expect("an address").to_string()).await.expect("a wire");
        let (heard, mut count) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, heard));
        let connect = || TcpStream::connect(wire.address());

        let mut stream = connect().await.expect("connects");
        assert_eq!(ask(&mut stream, 1).await.expect("answers"), 2);

        wire.set(Mood::Hole);
        stream.write_all(&[5]).await.expect("is taken");
        assert!(!count.borrow().gt(&1), "nothing gets through");
        wire.set(Mood::Open);
        let mut answer = [0];
        stream.read_exact(&mut answer).await.expect("what was held comes");
        assert_eq!(answer, [6]);

        wire.set(Mood::Deaf);
        stream.write_all(&[7]).await.expect("is taken");
        count.wait_for(|count| *count == 3).await.expect("is heard");
        wire.set(Mood::Open);
        assert!(
            stream.read_exact(&mut answer).await.is_err(),
            "the answer is lost and the connection closed"
        );

        let mut stream = connect().await.expect("connects");
        assert_eq!(ask(&mut stream, 8).await.expect("answers"), 9);
        wire.set(Mood::Cut);
        assert!(stream.read_exact(&mut answer).await.is_err(), "it was cut");
        let mut stream = connect().await.expect("is taken");
        assert!(ask(&mut stream, 1).await.is_err(), "and closed at once");
    }
}

//! Reads a few blocks of 1 MiB ahead on a thread, with back-pressure, and always fills the caller's buffer: pipes give
//! short reads, and the chunker of `rustic_core` shrinks its buffer for good after one. It must not swallow an error:
//! bytes that were read before the error are delivered first.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

const BLOCK: usize = 1 << 20;
const DEPTH: usize = 4;

pub struct Prefetch {
    blocks: Receiver<io::Result<Vec<u8>>>,
    spare: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    failed: Option<io::Error>,
    ended: bool,
}

impl Prefetch {
    /// Starts the thread. It ends with the input or with an error. If this reader is dropped, it ends after the read
    /// that it is in, so the owner of the other end must close it.
    pub fn new(input: Box<dyn Read + Send>) -> io::Result<Self> {
        let (sender, blocks) = sync_channel(DEPTH);
        let (spare, spares) = sync_channel(DEPTH + 1);
        thread::Builder::new().name("prefetch".to_owned()).spawn(move || read_ahead(input, &sender, &spares))?;
        Ok(Self { blocks, spare, current: Vec::new(), position: 0, failed: None, ended: false })
    }

    /// Waits for the next block; `false` at the end of the input.
    fn next_block(&mut self) -> io::Result<bool> {
        if let Some(error) = self.failed.take() {
            self.ended = true;
            return Err(error);
        }
        if self.ended {
            return Ok(false);
        }
        let block = match self.blocks.recv() {
            Ok(Ok(block)) => block,
            Ok(Err(error)) => {
                self.ended = true;
                return Err(error);
            }
            // The thread panicked inside the input. Only an announced end counts as the end.
            Err(_) => {
                self.ended = true;
                return Err(io::Error::other("the input's reader died"));
            }
        };
        self.ended = block.is_empty();
        let used = std::mem::replace(&mut self.current, block);
        self.position = 0;
        // If there is no room, the block is simply freed.
        drop(self.spare.try_send(used));
        Ok(!self.ended)
    }
}

impl Read for Prefetch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.position == self.current.len() {
                match self.next_block() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if filled > 0 => {
                        self.failed = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            let count = (buffer.len() - filled).min(self.current.len() - self.position);
            buffer[filled..filled + count].copy_from_slice(&self.current[self.position..self.position + count]);
            filled += count;
            self.position += count;
        }
        Ok(filled)
    }
}

/// Sends blocks until the input ends; an empty block announces the end.
fn read_ahead(mut input: Box<dyn Read + Send>, blocks: &SyncSender<io::Result<Vec<u8>>>, spares: &Receiver<Vec<u8>>) {
    loop {
        let mut block = spares.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        block.clear();
        let result = input.by_ref().take(BLOCK as u64).read_to_end(&mut block);
        let last = block.is_empty() || result.is_err();
        if !block.is_empty() && blocks.send(Ok(block)).is_err() {
            return;
        }
        if last {
            // A closed channel means that the reader was dropped, so the end need not be announced.
            drop(blocks.send(result.map(|_| Vec::new())));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use super::*;

    /// Gives at most seven bytes at a time, and at its end the error if there is one.
    struct Dribble(Vec<u8>, usize, Option<io::ErrorKind>);

    impl Read for Dribble {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(7).min(self.0.len() - self.1);
            buffer[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
            self.1 += count;
            match (count, self.2) {
                (0, Some(kind)) => Err(kind.into()),
                _ => Ok(count),
            }
        }
    }

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[test]
    fn short_reads_of_the_input_become_full_reads() {
        let data = sample(3 * BLOCK + 12_345);
        let mut reader = Prefetch::new(Box::new(Dribble(data.clone(), 0, None))).unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = reader.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..count]);
            if count < buffer.len() {
                break;
            }
        }
        assert!(read == data);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it() {
        let data = sample(BLOCK + 10);
        let input = Dribble(data.clone(), 0, Some(io::ErrorKind::BrokenPipe));
        let mut reader = Prefetch::new(Box::new(input)).unwrap();
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(read == data);
    }
}

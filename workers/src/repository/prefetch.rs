//! Reads ahead on a thread: 1 MiB blocks, a few of them, with back-pressure; and always fills the caller's buffer,
//! because `rustic_core`'s chunker shrinks its own for good on a short read and pipes read short.
//! It must not swallow an error: what was read before it is delivered, then the error.

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
    /// The thread ends with the input, with an error, or when this reader is dropped: then after the read it is in,
    /// so whoever owns the other end must close it.
    pub fn new(input: Box<dyn Read + Send>) -> io::Result<Self> {
        let (sender, blocks) = sync_channel(DEPTH);
        let (spare, spares) = sync_channel(DEPTH + 1);
        thread::Builder::new().name("prefetch".to_owned()).spawn(move || read_ahead(input, &sender, &spares))?;
        Ok(Self { blocks, spare, current: Vec::new(), position: 0, failed: None, ended: false })
    }

    /// `false` at the end of the input.
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
            // The thread panicked inside the input: an end that was not announced is not an end.
            Err(_) => {
                self.ended = true;
                return Err(io::Error::other("the input's reader died"));
            }
        };
        self.ended = block.is_empty();
        let used = std::mem::replace(&mut self.current, block);
        self.position = 0;
        // Without room the block is freed, which is as good.
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

/// An empty block is the end.
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
            // Nobody reads any more: nobody needs to know.
            drop(blocks.send(result.map(|_| Vec::new())));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use super::*;

    /// Gives at most seven bytes at a time, then an error if asked to.
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

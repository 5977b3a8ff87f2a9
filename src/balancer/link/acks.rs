//! What a server answers over a native connection.

use tokio::io::ReadHalf;

use super::error::LinkError;
use super::outstanding::Outstanding;
use super::target::Target;
use crate::balancer::dispatch::LinkEvent;
use crate::protocol::Message;
use crate::transport::{BoxStream, ReadError, Reader};

/// The read half of a link, as messages.
pub(super) type Answers = Reader<ReadHalf<BoxStream>>;

/// Tells the hub what the server answers. Acknowledgements that came together are told together.
pub(super) async fn read_acks(
    target: &Target,
    mut reader: Answers,
    outstanding: &Outstanding,
) -> Result<(), LinkError> {
    let mut numbers = Vec::new();
    loop {
        let next = next_answer(&mut reader).await;
        let is_stored = matches!(next, Ok(Some(Message::Stored { .. })));
        if let Ok(Some(Message::Stored { number })) = next {
            numbers.push(number);
        }
        let more_follow = is_stored && reader.has_frame();
        if !numbers.is_empty() && !more_follow {
            outstanding.answered(&numbers).map_err(LinkError::NotSent)?;
            target.tell(LinkEvent::Stored {
                numbers: std::mem::take(&mut numbers),
                confirmed: true,
            });
        }
        match next? {
            None => return Ok(()),
            Some(Message::Stored { .. }) => {}
            Some(Message::NotStored { number, refusal }) => {
                outstanding
                    .answered(&[number])
                    .map_err(LinkError::NotSent)?;
                target.tell(LinkEvent::NotStored { number, refusal });
            }
            Some(Message::Dropped { number }) if outstanding.removed(number) => {
                target.tell(LinkEvent::Dropped { number });
            }
            Some(Message::Dropped { number }) => return Err(LinkError::NotSent(number)),
            Some(Message::Bye(refusal)) => return Err(LinkError::Bye(refusal)),
            Some(other) => return Err(LinkError::Unexpected(other)),
        }
    }
}

/// The server's next message; `None` when it closed the link. A server that owes nothing may be
/// idle; [`Outstanding`] watches one that owes something.
pub(super) async fn next_answer(reader: &mut Answers) -> Result<Option<Message>, LinkError> {
    loop {
        match reader.frame().await {
            Ok(frame) => return Ok(frame.map(|frame| frame.message)),
            Err(ReadError::Idle(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

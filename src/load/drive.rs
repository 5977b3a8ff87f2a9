//! The connections of a run, and its clock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::task::JoinSet;

use super::lane::{Lane, Run};
use super::plan::{Load, Plan};
use super::rate::Rate;
use crate::client::{ClientError, Session, Way};
use crate::protocol::{ProtocolError, Refusal};
use crate::transport::BoxStream;

/// Time limit for a connection to be made and greeted.
const GREETING: Duration = Duration::from_secs(10);

/// How many connections are opened at a time: fewer than the default backlog of a listener.
const OPENING: u64 = 64;

/// Size of a read, in bytes: some 150 receipts.
const READ: usize = 16 * 1024;

/// A greeted connection, and the bytes received after the greeting.
pub type Greeted = (BoxStream, BytesMut);

/// Opens `count` connections. Returns the first error. Run it in a [`tokio::task::LocalSet`].
pub(super) async fn open(
    way: &Way,
    count: u64,
    opened: Rc<RefCell<Vec<Greeted>>>,
) -> Result<(), ClientError> {
    let (left, mut openers) = (Rc::new(Cell::new(count)), JoinSet::new());
    for _ in 0..OPENING.min(count) {
        let (left, way, opened) = (left.clone(), way.clone(), opened.clone());
        openers.spawn_local(async move {
            while let Some(less) = left.get().checked_sub(1) {
                left.set(less);
                let (session, answers) = Session::open(&way, GREETING).await?;
                opened.borrow_mut().push(session.into_stream(answers));
            }
            Ok(())
        });
    }
    all(openers).await
}

/// Waits for all tasks, or for the first error.
async fn all(mut tasks: JoinSet<Result<(), ClientError>>) -> Result<(), ClientError> {
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap_or_else(|error| Err(ClientError::Lost(error.to_string())))?;
    }
    Ok(())
}

/// Runs a plan to its end. Run it in a [`tokio::task::LocalSet`].
pub async fn run(way: &Way, plan: Rc<Plan>, run: Rc<RefCell<Run>>) -> Result<(), ClientError> {
    let opened = Rc::default();
    open(way, plan.connections, Rc::clone(&opened)).await?;
    let wakers: Rc<[_]> = (0..plan.connections).map(|_| RefCell::new(None)).collect();
    let (epoch, mut tasks) = (Instant::now(), JoinSet::new());
    for (place, (stream, input)) in (0..).zip(opened.take()) {
        let lane = Lane::new(plan.clone(), place, input);
        let (run, wakers) = (run.clone(), wakers.clone());
        let mut connection = Connection {
            stream,
            lane,
            run,
            epoch,
        };
        tasks.spawn_local(async move {
            poll_fn(|cx| {
                leave_waker(&wakers, place, cx);
                connection.poll(cx)
            })
            .await
        });
    }
    if let (Load::Open(rate), Some(total)) = (plan.load, plan.total()) {
        tasks.spawn_local(async move {
            pace(rate, total, epoch, &wakers)
                .await
                .map_err(|error| no_timer(&error))
        });
    }
    all(tasks).await
}

fn no_timer(error: &io::Error) -> ClientError {
    ClientError::Lost(format!("no timer: {error}"))
}

/// By connection: wakes it when one of its files is due.
type Wakers = [RefCell<Option<Waker>>];

fn leave_waker(wakers: &Wakers, place: u64, cx: &Context<'_>) {
    if let Some(left) = usize::try_from(place)
        .ok()
        .and_then(|place| wakers.get(place))
    {
        left.replace(Some(cx.waker().clone()));
    }
}

/// Wakes the connections whose files are due, until all files are due.
async fn pace(rate: Rate, total: u64, epoch: Instant, wakers: &Wakers) -> io::Result<()> {
    let (timer, mut before) = (Timer::new()?, 0);
    loop {
        let due = rate.due_by(epoch.elapsed()).min(total);
        for place in (before..due).take(wakers.len()) {
            let place = usize::try_from(place % wakers.len() as u64).unwrap_or(0);
            if let Some(waker) = wakers.get(place).and_then(RefCell::take) {
                waker.wake();
            }
        }
        if due >= total {
            return Ok(());
        }
        before = due;
        timer
            .sleep(rate.due(due).saturating_sub(epoch.elapsed()))
            .await?;
    }
}

/// A timer of the kernel: tokio's timer has a resolution of a millisecond and is up to two late.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[expect(
        deprecated,
        reason = "sound for a descriptor that is owned; what takes its place is unsafe code"
    )]
    fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        AsyncFd::new(timer).map(Self)
    }

    async fn sleep(&self, length: Duration) -> io::Result<()> {
        // A length of 0 would disarm the timer.
        let length = Timespec::try_from(length.max(Duration::from_nanos(1)))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: length,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        let mut ready = self.0.readable().await?;
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
        ready.clear_ready();
        Ok(())
    }
}

/// A lane and its stream.
struct Connection {
    stream: BoxStream,
    lane: Lane,
    run: Rc<RefCell<Run>>,
    epoch: Instant,
}

impl Connection {
    /// Writes and reads as much as possible; ready when the lane is done.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        loop {
            let now = self.epoch.elapsed();
            let mut run = self.run.borrow_mut();
            self.lane.fill(&mut run, now);
            if self.lane.is_done(&run, now) {
                return Poll::Ready(Ok(()));
            }
            drop(run);
            let (wrote, read) = (self.write(cx), self.read(cx));
            match (wrote, read) {
                (_, Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                // A write failed, and everything that the balancer sent before has been read.
                (Poll::Ready(Err(error)), Poll::Pending) => {
                    return Poll::Ready(Err(self.lost(&error.to_string())));
                }
                (Poll::Pending, Poll::Pending) => return Poll::Pending,
                _ => {}
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let [first, second] = self.lane.pending();
        if first.is_empty() && second.is_empty() {
            // Over TLS, what was written may still have to be sent.
            return match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            };
        }
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices);
        wrote.map(|wrote| match wrote {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            other => other.map(|count| self.lane.written(count)),
        })
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.lane.input.reserve(READ);
        let read = pin!(self.stream.read_buf(&mut self.lane.input)).poll(cx);
        read.map(|read| match read {
            Ok(0) => Err(self.lost("the balancer closed it")),
            Ok(_) => self.receive(),
            Err(error) => Err(self.lost(&error.to_string())),
        })
    }

    fn receive(&mut self) -> Result<(), ClientError> {
        let mut run = self.run.borrow_mut();
        self.lane.receive(&mut run, self.epoch.elapsed()).map_err(
            |error: Result<ProtocolError, Refusal>| match error {
                Ok(error) => ClientError::Nonsense(error),
                Err(refusal) => ClientError::Closed(refusal.reason),
            },
        )
    }

    fn lost(&self, why: &str) -> ClientError {
        match self.lane.farewell() {
            Some(reason) => ClientError::Stopped(reason.to_owned()),
            None => ClientError::Lost(why.to_owned()),
        }
    }
}

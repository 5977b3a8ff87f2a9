"""Bilico beside HAProxy with nginx, and beside a NATS JetStream work queue: one machine, loopback, the same work.

| module       | what                                                                              |
|--------------|-----------------------------------------------------------------------------------|
| command      | the command line, and the order of things                                         |
| catalog      | what is measured (runs), and what is judged (rows)                                |
| bilico       | starts a balancer and its servers, and measures them                              |
| mixed        | small files beside large uploads                                                  |
| growth       | what a file costs the balancer as servers, clients and waiting files grow         |
| agents       | what agents cost the balancer that tell the figures of their hosts                |
| webdav       | the same for HAProxy and three nginx                                              |
| jetstream    | the same for nats-server and three workers                                        |
| disk         | what the disk itself can do                                                       |
| certificates | the certificates of a run with TLS                                                |
| native       | as much of Bilico's protocol as it takes to ask a balancer how it is              |
| bench        | one round of one run: its directory, its processes, its figures                   |
| processes    | starts processes, reads what they use, and ends every one of them                 |
| machine      | facts, memory, free space                                                         |
| peers        | what is installed, and how to install what is not                                 |
| results      | samples, rows, verdicts; pure                                                     |
| stats        | medians, percentiles, spread; pure                                                |
| report       | the tables and the JSON; pure                                                     |
"""

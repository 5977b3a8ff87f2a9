#!/bin/sh
# Backs up a part of a Bilico cluster into a new directory; docs/backup.md explains the order and the restore.
#
#   backup.sh journal /var/lib/bilico/journal TO    on the balancer's machine, first
#   backup.sh files /var/lib/bilico/files TO        on each server's machine, afterwards, while it runs
#
# STOP and START say how the balancer is stopped and started; it is stopped while names are linked, not while
# contents are copied.
set -eu

: "${STOP:=systemctl stop bilico-balancer}" "${START:=systemctl start bilico-balancer}" "${BILICO:=bilico}"
usage="usage: backup.sh journal|files DIR TO"
what=${1:?$usage} dir=${2:?$usage} to=${3:?$usage}
if [ -e "$to" ]; then
    echo "error: $to is there already; a backup goes into a new directory" >&2
    exit 1
fi

mkdir -p "$(dirname "$to")"
case $what in
journal)
    links=$dir.backup
    if [ -e "$links" ]; then
        echo "error: $links is there already: is another backup running?" >&2
        exit 1
    fi
    # Whatever happens, clients wait for the balancer, and the links take room once the journal has moved on.
    started=no
    trap 'rm -rf "$links"; [ $started = yes ] || eval "$START"' EXIT
    eval "$STOP"
    # A balancer begins a new segment at each start and changes no older one: links are as good as copies.
    cp -al "$dir" "$links"
    eval "$START"
    started=yes
    cp -a "$links" "$to.part"
    "$BILICO" queue check "$to.part"
    ;;
files)
    mkdir -p "$to.part"
    # Stored files never change. Those that come or go meanwhile are no failure: tar says so with 1.
    tar -C "$dir" --exclude './.bilico-*' --warning=no-file-removed --warning=no-file-changed --ignore-failed-read \
        -cf - . | tar -C "$to.part" -xpf -
    # Last, so that it knows every file of the copy.
    cp -a "$dir/.bilico-index" "$to.part/"
    ;;
*)
    echo "error: $usage" >&2
    exit 1
    ;;
esac
sync
mv "$to.part" "$to"
echo "$to: $(find "$to" -type f | wc -l) files, $(du -sh "$to" | cut -f 1)"

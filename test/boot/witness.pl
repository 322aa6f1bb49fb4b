# Stands on a mount: holds a file open and a folder as its own. Each time it reads a line of the pipe ASK it reads the file
# anew through the open descriptor, with the kernel's cache dropped, and says "same" or what differs: witness.pl ASK ANSWER
use strict;
use warnings;
my ($ask, $answer) = @ARGV;
chdir '/mnt/unit/usr/bin' or die "chdir: $!";
open my $file, '<:raw', 'bash' or die "open: $!";

sub content {
  if (open my $drop, '>', '/proc/sys/vm/drop_caches') { print $drop "3\n"; close $drop }
  sysseek $file, 0, 0 or return "cannot seek: $!";
  my $all = '';
  while (1) {
    my $count = sysread $file, my $part, 65536;
    return "cannot read: $!" unless defined $count;
    last unless $count;
    $all .= $part;
  }
  return $all;
}

my $first = content();
length $first > 100000 or die "too short: $first";
while (1) {
  open my $in, '<', $ask or die "ask: $!";
  <$in>;
  close $in;
  my $now = content();
  my $said = $now eq $first ? 'same' : substr $now, 0, 100;
  $said = "folder: $!" unless -e './env';
  open my $out, '>', $answer or die "answer: $!";
  print $out "$said\n";
  close $out;
}

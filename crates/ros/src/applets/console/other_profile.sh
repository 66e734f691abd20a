# Corral writes this file at each start of the console: its programs come after the image's own.
case ":$PATH:" in
*:/usr/lib/corral/bin:*) ;;
*) export PATH="$PATH:/usr/lib/corral/bin" ;;
esac
# What is wrong with the machine, as far as this user may know.
case $- in
*i*)
    busybox timeout 5 sudo -n ros banner 2>/dev/null
    cat /run/corral/login-message 2>/dev/null
    ;;
esac

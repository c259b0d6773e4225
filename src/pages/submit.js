// Takes an answer to the service without a click; where no script runs, the button does.
document.forms[0].submit()
